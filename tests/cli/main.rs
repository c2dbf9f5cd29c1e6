//! The command line, driven as a person would.

#[path = "../cli_support/mod.rs"]
mod cli_support;

mod backup;
mod bad_input;
mod bench;
mod copy;
mod forget;
mod heads;
mod help;
mod interrupt;
mod keys;
mod many_at_once;
mod mount;
mod parity;
mod passwords;
mod repair;
mod salvage;
mod states;
mod terminal;
mod tree;
mod two_writers;
mod verify;

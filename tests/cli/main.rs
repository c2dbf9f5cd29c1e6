//! The command line, driven as a person would.

#[allow(missing_docs, dead_code, reason = "it is used in part")]
#[path = "../block_support/attached.rs"]
mod attached;
#[path = "../cli_support/mod.rs"]
mod cli_support;

mod backup;
mod bad_input;
mod bench;
mod clock;
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
mod policies;
mod quota;
mod reflink;
mod repair;
mod salvage;
mod scripts;
mod scripts_interrupted;
mod snapshots;
mod states;
mod terminal;
mod tree;
mod two_writers;
mod verify;

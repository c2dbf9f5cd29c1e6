//! The format: what was written once stays readable, by others too.

#[path = "../common/mod.rs"]
mod common;

mod document;
mod second_reader;
mod v1;

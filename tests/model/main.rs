//! The engine's own code under a checker that decides at every lock who goes on.

#![cfg(shuttle)]

#[path = "../common/mod.rs"]
mod common;

mod cache;
mod index;
mod removal;
mod writers;

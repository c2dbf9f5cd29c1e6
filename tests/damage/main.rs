//! Promises 2 and 3: damaged vaults give right bytes or errors that name what is lost.

#[path = "../common/mod.rs"]
mod common;

mod files;
mod next_backup;
mod parity;
mod scrub;
mod verify;
mod volume;

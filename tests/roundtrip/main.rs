//! Promise 2: what was backed up is what is read.

#[path = "../common/mod.rs"]
mod common;

mod changed_ranges;
mod dedup;
mod diff;
mod extents;
mod options;
mod restore;
mod sizes;
mod unreadable;
mod zeros;

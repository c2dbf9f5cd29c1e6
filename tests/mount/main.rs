//! Promise 5: the mounted tree.

#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../common/mod.rs"]
mod common;

mod damage;
mod disk;
mod guest_files;
mod lockdown;
mod processes;
mod tables;
mod truncated;

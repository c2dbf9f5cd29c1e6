//! A block device that keeps account of what it was asked to write and to flush, and what power loss leaves of it.

#![allow(missing_docs, dead_code, reason = "each test file uses its own part")]

pub mod attached;
pub mod served;
pub mod trace;

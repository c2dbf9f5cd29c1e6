//! Promise 1: processes that die, power that is lost, calls that fail, disks that are full.

#[path = "../block_support/mod.rs"]
mod block_support;
#[path = "../common/mod.rs"]
mod common;

mod block_trace;
mod cancel;
mod copy;
mod faults;
mod gc;
mod kill;
mod kill_many;
mod no_space;
mod order;
mod policies;
mod power;
mod repair;

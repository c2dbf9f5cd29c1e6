//! A disk in memory that loses power: the lower seam for tests of everything that writes.
//!
//! [`SimulatedFiles`] behaves as a file system does while the machine lives, and keeps a [`Trace`] of every call that
//! changes it or makes a change durable. From the trace, [`Crash`] says for any moment what a machine that lost its
//! power there may find on its disk afterwards: whatever was synced, and of all the rest any part, torn at any sector.
//!
//! What is durable is only what POSIX promises, not what one file system happens to do: syncing a file makes its content
//! and length durable and not its name; a name, its change and its removal are durable once its directory was synced,
//! each directory for itself.

mod crash;
mod image;
mod live;
mod trace;

pub use crash::{Crash, Left};
pub use image::Image;
pub use live::SimulatedFiles;
pub use trace::{Node, Operation, Trace};

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: u64 = 512;

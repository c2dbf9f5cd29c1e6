//! The FUSE server: shows a [`ReadOnlyTree`] to the kernel as a read-only file system.
//!
//! Invariants:
//! - nothing is kept per open file or directory: every request carries all that is needed to answer it, so there is
//!   no lock and nothing to lose;
//! - a tree's error or panic ends one request, never the mount;
//! - what the kernel may cache follows from [`ReadOnlyTree::is_immutable`] alone;
//! - no dead mount point stays behind while the process lives: whoever ends the session also detaches it.
//!
//! It refuses to know what the tree shows and why a call failed: that is told to the caller's `on_failure`.

mod attach;
mod convert;
mod detach;
mod error;
mod failure;
mod filesystem;
mod helper;
mod listing;
mod mount_point;
mod negotiate;
mod options;
mod session;
mod turns;
mod xattr;

use std::path::Path;
use std::sync::Arc;

pub use convert::MUTABLE_TTL;
pub use error::{MountError, UnmountError};
pub use failure::{Cause, Failure};
pub use options::MountOptions;
pub use session::{Ended, Mount, Unmounter};

use crate::ReadOnlyTree;

/// Mounts `tree` on the directory `mount_point` and serves it on threads of its own until it is unmounted.
///
/// Works for root, and for an ordinary user where `fusermount3` is installed. The mount is read-only, nosuid, nodev and
/// noatime. `on_failure` is told of every failure that a person should know of (see [`Failure`]); it is called on the
/// serving threads and should return soon.
///
/// # Errors
/// See [`MountError`]; nothing stays mounted then.
pub fn mount<T: ReadOnlyTree + 'static>(
    tree: Arc<T>,
    mount_point: &Path,
    options: &MountOptions,
    on_failure: impl Fn(&Failure<'_, T::Error>) + Send + Sync + 'static,
) -> Result<Mount, MountError> {
    let attached = attach::attach(mount_point, options)?;
    let server = filesystem::Server::new(tree, Box::new(on_failure), options);
    session::start(server, attached, options)
}

//! The FUSE server: shows a [`ReadOnlyTree`] to the kernel as a read-only file system.
//!
//! Invariants:
//! - nothing is kept per open file or directory: every request carries all that is needed to answer it, so there is
//!   no lock and nothing to lose;
//! - a tree's error or panic ends one request, never the mount;
//! - what the kernel may cache follows from [`ReadOnlyTree::is_immutable`] alone;
//! - no dead mount point stays behind while the process lives: whoever ends the session also detaches it;
//! - set-user-id bits, file capabilities and device nodes stay behind unless they are asked for: see [`Harmless`].
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
mod passing;
mod session;
mod turns;
mod xattr;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

pub use attach::DEVICE;
pub use convert::MUTABLE_TTL;
pub use error::{MountError, UnmountError};
pub use failure::{Cause, Failure};
pub use options::MountOptions;
pub use passing::{receive_device, send_device};
pub use session::{Ended, Mount, Session, Unmounter};

#[cfg(doc)]
use crate::Harmless;
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
    let (device, mount) = attach(mount_point, options)?;
    let started = Session::begin(tree, device, options, on_failure).and_then(|session| mount.run(session));
    if started.is_err() {
        mount.unmounter().session_ended();
    }
    started.map(|()| mount)
}

/// Mounts what a [`Session`], in this process or another, goes on to serve through the device that is returned. Until then
/// whoever looks at the mount point waits.
///
/// So the process that reads a tree of unknown origin needs no right to mount or unmount. Where that process is another one,
/// it must get the only copy of the device ([`send_device`]): when that is closed, the kernel knows that nobody answers any
/// more. [`Mount::session_began`] and [`Unmounter::session_ended`] tell the mount about it.
///
/// # Errors
/// See [`MountError`]; nothing stays mounted then.
pub fn attach(mount_point: &Path, options: &MountOptions) -> Result<(OwnedFd, Mount), MountError> {
    let (device, mount_point) = attach::attach(mount_point, options)?;
    Ok((device, Mount::new(mount_point)))
}

//! Unmounts: cleanly where nobody uses the mount, else lazily, so that whoever wants to stop always can.

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::error::UnmountError;
use super::helper;
use super::mount_point::{MountPoint, Whereabouts};

/// How a mount left the name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detached {
    /// Nobody used it: its session ends now.
    Idle,
    /// Files are open or directories are current on it: its session ends with the last of them.
    InUse,
}

/// Detaches our mount. Must only be called while its session may be alive: an ended session's identity can belong to
/// somebody else's mount.
pub(super) fn detach(mount_point: &MountPoint) -> Result<Detached, UnmountError> {
    match mount_point.whereabouts() {
        Whereabouts::Attached => {}
        Whereabouts::Covered => return Err(UnmountError::Covered(mount_point.path.clone())),
        Whereabouts::Gone => return Ok(Detached::InUse),
    }
    let path = &mount_point.path;
    match unmount(path, UnmountFlags::NOFOLLOW) {
        // No mount there: somebody was faster.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(Detached::Idle),
        Err(Errno::BUSY) => match unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(Detached::InUse),
            Err(error) => Err(UnmountError::KernelRefused(error.into())),
        },
        Err(Errno::PERM) => detach_through_helper(mount_point),
        Err(error) => Err(UnmountError::KernelRefused(error.into())),
    }
}

fn detach_through_helper(mount_point: &MountPoint) -> Result<Detached, UnmountError> {
    if helper::unmount(&mount_point.path, false)?.is_ok() {
        return Ok(Detached::Idle);
    }
    match helper::unmount(&mount_point.path, true)? {
        Ok(()) => Ok(Detached::InUse),
        Err(_) if mount_point.whereabouts() == Whereabouts::Gone => Ok(Detached::Idle),
        Err(reason) => Err(UnmountError::HelperRefused(reason)),
    }
}

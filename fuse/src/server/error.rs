//! Why mounting or unmounting failed, one variant per thing that somebody can do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a tree could not be mounted. Nothing stays mounted.
#[derive(Debug)]
#[non_exhaustive]
pub enum MountError {
    /// There is no such directory.
    MountPointMissing(PathBuf),
    /// The mount point is not a directory.
    MountPointNotADirectory(PathBuf),
    /// The mount point holds files that the mount would hide.
    MountPointNotEmpty(PathBuf),
    /// A server that died left its mount behind; `fusermount3 -u` or `umount` removes it.
    MountPointDead(PathBuf),
    /// This user may not look at the mount point, or not mount there for lack of write permission.
    MountPointDenied(PathBuf, io::Error),
    /// `/dev/fuse` is missing: the kernel has no FUSE, or a container hides it.
    DeviceMissing(io::Error),
    /// `/dev/fuse` is there and this user may not open it: its mode should be 0666, and a container's device list
    /// must hold it.
    DeviceDenied(io::Error),
    /// Not root, and `fusermount3` (package fuse3), which mounts for ordinary users, is not installed.
    HelperMissing,
    /// `fusermount3` refused, for this reason.
    HelperRefused(String),
    /// `allow_other` was asked for and `/etc/fuse.conf` lacks `user_allow_other`.
    AllowOtherForbidden,
    /// The kernel refused to mount.
    KernelRefused(io::Error),
    /// Mounted, but the session could not start; unmounted again.
    Session(io::Error),
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountPointMissing(path) => {
                write!(f, "mount point {} does not exist", path.display())
            }
            Self::MountPointNotADirectory(path) => {
                write!(f, "mount point {} is not a directory", path.display())
            }
            Self::MountPointNotEmpty(path) => {
                write!(f, "mount point {} is not empty", path.display())
            }
            Self::MountPointDead(path) => {
                let path = path.display();
                write!(f, "mount point {path} holds a dead mount; remove it with `fusermount3 -u {path}`")
            }
            Self::MountPointDenied(path, _) => write!(f, "mount point {} may not be used by this user", path.display()),
            Self::DeviceMissing(_) => {
                write!(f, "/dev/fuse is missing: load the kernel module `fuse`")
            }
            Self::DeviceDenied(_) => write!(f, "/dev/fuse may not be opened"),
            Self::HelperMissing => write!(f, "fusermount3 is missing: install the package fuse3, or mount as root"),
            Self::HelperRefused(reason) => write!(f, "fusermount3 refused: {reason}"),
            Self::AllowOtherForbidden => write!(f, "other users: add `user_allow_other` to /etc/fuse.conf first"),
            Self::KernelRefused(_) => write!(f, "the kernel refused to mount"),
            Self::Session(_) => write!(f, "the session with the kernel did not start"),
        }
    }
}

impl Error for MountError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::MountPointDenied(_, source)
            | Self::DeviceMissing(source)
            | Self::DeviceDenied(source)
            | Self::KernelRefused(source)
            | Self::Session(source) => Some(source),
            _ => None,
        }
    }
}

/// Why a mount could not be detached. It goes on being served.
#[derive(Debug)]
#[non_exhaustive]
pub enum UnmountError {
    /// Something else was mounted over it; unmount that first.
    Covered(PathBuf),
    /// Mounted by or for an ordinary user, and `fusermount3` is not there any more.
    HelperMissing,
    /// `fusermount3` refused, for this reason.
    HelperRefused(String),
    /// The kernel refused.
    KernelRefused(io::Error),
}

impl fmt::Display for UnmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Covered(path) => write!(f, "something else is mounted over {}", path.display()),
            Self::HelperMissing => write!(f, "fusermount3 is missing, so an ordinary user cannot unmount"),
            Self::HelperRefused(reason) => write!(f, "fusermount3 refused to unmount: {reason}"),
            Self::KernelRefused(_) => write!(f, "the kernel refused to unmount"),
        }
    }
}

impl Error for UnmountError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::KernelRefused(source) => Some(source),
            _ => None,
        }
    }
}

//! A directory that we mounted on, and how to tell our mount from any other at the same place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;

use super::error::MountError;

/// The mount point's full path, and what was mounted there.
#[derive(Debug)]
pub(super) struct MountPoint {
    /// Free of symbolic links, so that it still leads there when the current directory changes.
    pub(super) path: PathBuf,
    mounted: Option<Identity>,
}

/// What tells one mount from another while it is in use: neither number is given away again before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: (u32, u32),
    /// Zero before Linux 5.8, where the device alone must do.
    mount_id: u64,
}

/// Where a mount is now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// At its mount point, on top.
    Attached,
    /// At its mount point, under another mount.
    Covered,
    /// Not in this name space any more.
    Gone,
}

impl MountPoint {
    /// Checks that one can mount on `path`.
    pub(super) fn find(path: &Path, allow_non_empty: bool) -> Result<Self, MountError> {
        let refused = |error: io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT) => MountError::MountPointMissing(path.to_owned()),
            Some(Errno::NOTDIR) => MountError::MountPointNotADirectory(path.to_owned()),
            Some(Errno::NOTCONN) => MountError::MountPointDead(path.to_owned()),
            _ => MountError::MountPointDenied(path.to_owned(), error),
        };
        let full = path.canonicalize().map_err(refused)?;
        if !fs::metadata(&full).map_err(refused)?.is_dir() {
            return Err(MountError::MountPointNotADirectory(path.to_owned()));
        }
        if !allow_non_empty && fs::read_dir(&full).map_err(refused)?.next().is_some() {
            return Err(MountError::MountPointNotEmpty(path.to_owned()));
        }
        Ok(Self { path: full, mounted: None })
    }

    /// Remembers what is mounted here now as ours; right after mounting, before anybody else could cover it.
    pub(super) fn remember(&mut self) {
        self.mounted = self.on_top();
    }

    pub(super) fn whereabouts(&self) -> Whereabouts {
        let Some(mounted) = self.mounted else {
            return Whereabouts::Attached;
        };
        if self.on_top() == Some(mounted) {
            Whereabouts::Attached
        } else if is_in_name_space(mounted.mount_id) {
            Whereabouts::Covered
        } else {
            Whereabouts::Gone
        }
    }

    /// Whether nobody answers there any more, and nobody will. A mount that somebody else made here a moment after ours went
    /// may have got its numbers; that one is alive.
    pub(super) fn is_dead(&self) -> bool {
        let status = statx(CWD, &self.path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
        matches!(status, Err(Errno::NOTCONN | Errno::CONNABORTED))
    }

    /// Numbers of the file system, by which the kernel names its readahead setting.
    pub(super) fn device(&self) -> Option<(u32, u32)> {
        self.mounted.map(|identity| identity.device)
    }

    /// `DONT_SYNC`: the kernel answers of itself, so that this works on a mount that nobody serves.
    fn on_top(&self) -> Option<Identity> {
        let status = statx(CWD, &self.path, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID).ok()?;
        let known = StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::MNT_ID);
        Some(Identity {
            device: (status.stx_dev_major, status.stx_dev_minor),
            mount_id: if known { status.stx_mnt_id } else { 0 },
        })
    }
}

/// Each line of `mountinfo` begins with a mount's number (proc_pid_mountinfo(5)).
fn is_in_name_space(mount_id: u64) -> bool {
    let id = mount_id.to_string();
    fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').next() == Some(&id)))
}

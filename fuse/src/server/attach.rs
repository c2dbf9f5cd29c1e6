//! Mounts: by the kernel's own call where we may, else through `fusermount3`.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{geteuid, getgid, getuid};
use std::path::Path;

use super::error::MountError;
use super::helper;
use super::mount_point::MountPoint;
use super::options::MountOptions;

const DEVICE: &str = "/dev/fuse";

/// A mount that nobody serves yet.
pub(super) struct Attached {
    pub(super) device: OwnedFd,
    pub(super) mount_point: MountPoint,
    /// Whether this process may open `/dev/fuse` itself, as it must to give each thread its own descriptor.
    pub(super) may_clone: bool,
}

pub(super) fn attach(path: &Path, options: &MountOptions) -> Result<Attached, MountError> {
    let mut mount_point = MountPoint::find(path, options.allow_non_empty)?;
    let (device, may_clone) = match open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(device) => match mount_directly(&device, &mount_point.path, options) {
            Ok(()) => (device, true),
            Err(Errno::PERM) => (helper::mount(&mount_point.path, options)?, true),
            Err(error) => return Err(MountError::KernelRefused(error.into())),
        },
        Err(error @ (Errno::NOENT | Errno::NODEV | Errno::NXIO)) => {
            return Err(MountError::DeviceMissing(error.into()));
        }
        Err(error) if geteuid().is_root() => return Err(MountError::DeviceDenied(error.into())),
        // The helper, being setuid, may be allowed what we are not: older ones open the device with root's rights.
        Err(_) => (helper::mount(&mount_point.path, options)?, false),
    };
    mount_point.remember();
    Ok(Attached { device, mount_point, may_clone })
}

fn mount_directly(device: &OwnedFd, path: &Path, options: &MountOptions) -> rustix::io::Result<()> {
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        getuid().as_raw(),
        getgid().as_raw()
    );
    if options.allow_other {
        // Without the kernel's own checks, every user could read every file of every guest.
        data.push_str(",allow_other,default_permissions");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    rustix::mount::mount(options.fs_name.as_str(), path, format!("fuse.{}", options.subtype), flags, data.as_c_str())
}

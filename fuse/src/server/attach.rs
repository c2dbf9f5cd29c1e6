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

/// The kernel's end of every mount.
pub const DEVICE: &str = "/dev/fuse";

/// Mounts; nobody serves it yet.
pub(super) fn attach(path: &Path, options: &MountOptions) -> Result<(OwnedFd, MountPoint), MountError> {
    let mut mount_point = MountPoint::find(path, options.allow_non_empty)?;
    let device = match open_device() {
        Ok(device) => match mount_directly(&device, &mount_point.path, options) {
            Ok(()) => device,
            Err(Errno::PERM) => helper::mount(&mount_point.path, options)?,
            Err(error) => return Err(MountError::KernelRefused(error.into())),
        },
        Err(error @ (Errno::NOENT | Errno::NODEV | Errno::NXIO)) => {
            return Err(MountError::DeviceMissing(error.into()));
        }
        Err(error) if geteuid().is_root() => return Err(MountError::DeviceDenied(error.into())),
        // The helper, being setuid, may be allowed what we are not: older ones open the device with root's rights.
        Err(_) => helper::mount(&mount_point.path, options)?,
    };
    mount_point.remember();
    Ok((device, mount_point))
}

pub(super) fn open_device() -> rustix::io::Result<OwnedFd> {
    open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
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

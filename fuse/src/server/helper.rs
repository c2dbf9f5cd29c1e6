//! `fusermount3`, the setuid program that mounts and unmounts for ordinary users.
//!
//! It opens `/dev/fuse`, mounts, and passes the descriptor back over a socket whose number it finds in
//! `_FUSE_COMMFD` (libfuse, `util/fusermount.c`).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::fs::{Access, access};

use super::error::{MountError, UnmountError};
use super::options::MountOptions;
use super::passing::receive_device;

/// Where the helper may be: on the path, at its usual place for processes with a bare path, and on NixOS.
const PROGRAMS: [&str; 3] = ["fusermount3", "/usr/bin/fusermount3", "/run/wrappers/bin/fusermount3"];

/// Mounts on `path` and returns the descriptor of the session.
pub(super) fn mount(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    // The helper checks this too, but says so in words only.
    access(path, Access::WRITE_OK).map_err(|error| MountError::MountPointDenied(path.to_owned(), error.into()))?;

    let (ours, theirs) = UnixStream::pair().map_err(MountError::Session)?;
    let child = start(|command| {
        // The helper's end becomes its standard input: the one descriptor that a child is given without a moment in
        // which other children could inherit it too.
        let theirs = OwnedFd::from(theirs.try_clone()?);
        command.arg("-o").arg(mount_options(options)).arg("--").arg(path);
        command.env("_FUSE_COMMFD", "0").stdin(theirs);
        Ok(())
    })
    .map_err(MountError::Session)?
    .ok_or(MountError::HelperMissing)?;
    // Only the helper may hold its end now, or the wait below would outlast a helper that fails.
    drop(theirs);

    let received = receive_device(&ours);
    let reason = finish(child).map_err(MountError::Session)?;
    match received.map_err(MountError::Session)? {
        Some(device) => Ok(device),
        None if reason.contains("user_allow_other") => Err(MountError::AllowOtherForbidden),
        // Newer helpers open it with the user's rights only.
        None if reason.contains("failed to open /dev/fuse") => {
            Err(MountError::DeviceDenied(io::ErrorKind::PermissionDenied.into()))
        }
        None => Err(MountError::HelperRefused(reason)),
    }
}

/// Unmounts `path`; `lazily` also where files are open. `Ok(Err(reason))` where the helper refused.
pub(super) fn unmount(path: &Path, lazily: bool) -> Result<Result<(), String>, UnmountError> {
    let mut child = start(|command| {
        command.arg("-u").args(lazily.then_some("-z")).arg("--").arg(path).stdin(Stdio::null());
        Ok(())
    })
    .map_err(UnmountError::KernelRefused)?
    .ok_or(UnmountError::HelperMissing)?;
    let status = child.wait().map_err(UnmountError::KernelRefused)?;
    let reason = finish(child).map_err(UnmountError::KernelRefused)?;
    Ok(if status.success() { Ok(()) } else { Err(reason) })
}

/// Starts the first helper that exists; `None` where there is none.
fn start(prepare: impl Fn(&mut Command) -> io::Result<()>) -> io::Result<Option<Child>> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        prepare(&mut command)?;
        match command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn() {
            Ok(child) => return Ok(Some(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Waits for the helper's end and returns what it had to say.
fn finish(child: Child) -> io::Result<String> {
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

fn mount_options(options: &MountOptions) -> String {
    let mut all =
        format!("ro,nosuid,nodev,noatime,fsname={},subtype={}", escape(&options.fs_name), escape(&options.subtype));
    if options.allow_other {
        all.push_str(",allow_other,default_permissions");
    }
    all
}

/// A comma would begin another option.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

//! `icecore umount`

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueHint};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::exit::Exit;
use super::problem::{Problem, Sentence};

/// The type that the kernel lists our mounts by.
const TYPE: &[u8] = b"fuse.icecore";

/// How long an unmounted directory may still be listed.
const GONE_WAIT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  icecore umount /mnt/points
  icecore umount --lazy /mnt/points";

/// Unmount it
///
/// Unmounts what `icecore mount` mounted; the program behind it ends. `umount` and `fusermount3 -u` do the same.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT", value_hint = ValueHint::DirPath)]
    mount_point: PathBuf,
    /// Take it out of sight even if it is in use; it ends with the last file that is open there
    #[arg(short = 'l', long)]
    lazy: bool,
}

/// Unmounts.
pub fn run(arguments: &Arguments) -> Result<Exit, Problem> {
    let given = &arguments.mount_point;
    let path = full_path(given).map_err(Problem::file("look at", given))?;
    if !is_ours(&path)? {
        let happened = format!("{} is no mount of icecore", given.display());
        let sentence = Sentence::new(happened, "nothing was unmounted", "see them with `findmnt -t fuse.icecore`");
        return Err(Problem::said(Exit::Failed, sentence));
    }
    detach(&path, arguments.lazy)?;
    let began = Instant::now();
    while is_ours(&path)? && began.elapsed() < GONE_WAIT {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(Exit::Done)
}

/// Free of links; of a dead mount point, which can't be looked at, only its parent can be.
fn full_path(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(parent.canonicalize()?.join(path.file_name().unwrap_or_default()))
        }
        found => found,
    }
}

/// Whether what is mounted there, on top, is ours: fields 5 and, after the dash, 1 of mountinfo (proc_pid_mountinfo(5)).
fn is_ours(path: &Path) -> Result<bool, Problem> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let mounts = std::fs::read(MOUNTS).map_err(Problem::file("read", Path::new(MOUNTS)))?;
    let top = mounts.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let place = unescaped(fields.nth(4)?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        (place == path.as_os_str()).then(|| kind == TYPE)
    });
    Ok(top.unwrap_or(false))
}

/// Blanks and backslashes are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut left = field;
    while let Some((first, rest)) = left.split_first() {
        let digits = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                left = rest.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                left = rest;
            }
        }
    }
    OsString::from_vec(out)
}

fn detach(path: &Path, lazy: bool) -> Result<(), Problem> {
    let flags = if lazy { UnmountFlags::NOFOLLOW | UnmountFlags::DETACH } else { UnmountFlags::NOFOLLOW };
    match unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => through_helper(path, lazy),
        Err(Errno::BUSY) => Err(busy(path)),
        Err(error) => Err(Problem::file("unmount", path)(error.into())),
    }
}

/// Ordinary users unmount what they mounted through the helper that mounted it.
fn through_helper(path: &Path, lazy: bool) -> Result<(), Problem> {
    let ran = Command::new("fusermount3").arg(if lazy { "-uz" } else { "-u" }).arg("--").arg(path).output();
    let output = ran.map_err(Problem::file("run", Path::new("fusermount3")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("busy") {
        return Err(busy(path));
    }
    let happened = format!("cannot unmount {}: {}", path.display(), said.trim());
    let sentence = Sentence::new(happened, "it stays mounted", "run it as the user who mounted it, or as root");
    Err(Problem::said(Exit::Failed, sentence))
}

fn busy(path: &Path) -> Problem {
    let happened = format!("{} is in use", path.display());
    let next = format!("see who uses it with `fuser -vm {}`, or add --lazy", path.display());
    Problem::said(Exit::Busy, Sentence::new(happened, "it stays mounted", next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescaped(b"/mnt/a\\040b\\134c"), OsString::from("/mnt/a b\\c"));
        assert_eq!(unescaped(b"/plain\\"), OsString::from("/plain\\"));
    }
}

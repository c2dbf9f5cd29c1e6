//! Copies of image files that share their blocks, made in an instant: `FICLONE` of XFS and btrfs (ioctl_ficlone(2)).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{IFlags, OFlags, ioctl_ficlone, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use super::{DiskImage, TICK};
use crate::error::{Error, Result};

/// Copies images, one right after the other, into files without a name, in `dir` or beside each image. They are gone when they
/// are closed, however that comes about.
///
/// A pre-script may have frozen the file system that holds the images, and not the one in them. Whoever makes a file there is
/// held by the kernel until it is thawed, and no signal calls him back. So a thread of its own does it, and the caller goes on
/// to the post-script after `timeout`, or once nobody wants it any more. Thawed, the thread ends, and with it what it made.
pub(super) fn copy_all(
    images: &[DiskImage],
    dir: Option<&Path>,
    timeout: Duration,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<File>> {
    let deadline = Instant::now() + timeout;
    let paths: Vec<PathBuf> = images.iter().map(|image| image.path.clone()).collect();
    let first = paths.first().cloned().unwrap_or_default();
    let (dir, copied) = (dir.map(Path::to_owned), Arc::new(AtomicUsize::new(0)));
    let (to, from) = sync_channel(1);
    let work = {
        let copied = Arc::clone(&copied);
        move || {
            let copy = |path: &PathBuf| {
                let copy = copy(path, dir.as_deref())?;
                copied.fetch_add(1, Ordering::Relaxed);
                Ok(copy)
            };
            // Nobody takes them any more: they are closed.
            let _ = to.send(paths.iter().map(copy).collect::<Result<Vec<File>>>());
        }
    };
    let begun = thread::Builder::new().name("icecore-reflink".to_owned()).spawn(work);
    begun.map_err(|error| failed("make a reflink copy of", &first, error))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match from.recv_timeout(left.min(TICK)) {
            Ok(copies) => return copies,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Poisoned),
            Err(RecvTimeoutError::Timeout) if stop() => return Err(Error::Interrupted),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                let path = images.get(copied.load(Ordering::Relaxed)).map_or(first, |image| image.path.clone());
                let why = format!(
                    "it took longer than {} s: a pre-script must not freeze the file system that holds the images",
                    timeout.as_secs_f64()
                );
                return Err(failed("make a reflink copy of", &path, io::Error::new(ErrorKind::TimedOut, why)));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { operation, path: path.to_owned(), source }
}

fn copy(image: &Path, dir: Option<&Path>) -> Result<File> {
    // Where the file is, and not where a link to it is: only there its blocks can be shared.
    let image = std::fs::canonicalize(image).map_err(|error| failed("open disk", image, error))?;
    let source = open_image(&image).map_err(|error| failed("open disk", &image, error))?;
    let dir = dir.or_else(|| image.parent()).unwrap_or(Path::new("/"));
    let copy = unnamed(dir).map_err(|error| failed("make a reflink copy in", dir, error))?;
    if let Ok(flags) = ioctl_getflags(&source)
        && flags.contains(IFlags::NOCOW)
    {
        // btrfs shares blocks only between files that are alike in this, and images of machines mostly have it.
        let _ = ioctl_setflags(&copy, ioctl_getflags(&copy).unwrap_or(IFlags::empty()) | IFlags::NOCOW);
    }
    ioctl_ficlone(&copy, &source).map_err(|error| failed("make a reflink copy of", &image, explained(error)))?;
    Ok(copy)
}

fn open_image(image: &Path) -> io::Result<File> {
    // Without waiting for whoever writes to a pipe.
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(image)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "only a regular file has a reflink copy"));
    }
    Ok(file)
}

fn unnamed(dir: &Path) -> io::Result<File> {
    // Nobody can give it a name later, either.
    let unnamed = flags(OFlags::TMPFILE | OFlags::EXCL);
    let file = OpenOptions::new().read(true).write(true).custom_flags(unnamed).mode(0o600).open(dir);
    file.map_err(|error| match Errno::from_io_error(&error) {
        Some(error @ (Errno::OPNOTSUPP | Errno::ISDIR)) => explained(error),
        _ => error,
    })
}

fn flags(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn explained(error: Errno) -> io::Error {
    let why = match error {
        Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::NOSYS | Errno::ISDIR => {
            "its file system can't; XFS and btrfs can, made with reflinks, as mkfs.xfs does by default"
        }
        Errno::XDEV => "the directory for snapshots is on another file system than the image",
        _ => return error.into(),
    };
    io::Error::new(ErrorKind::Unsupported, why)
}

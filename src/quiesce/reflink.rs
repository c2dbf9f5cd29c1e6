//! A copy of an image file that shares its blocks, made in an instant: `FICLONE` of XFS and btrfs (ioctl_ficlone(2)).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{IFlags, OFlags, ioctl_ficlone, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// Copies an image into a file without a name, in `dir` or beside the image. It is gone when it is closed, however that
/// comes about.
pub(super) fn copy(image: &Path, dir: Option<&Path>) -> Result<File> {
    let failed = |operation, path: &Path, source| Error::File { operation, path: path.to_owned(), source };
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

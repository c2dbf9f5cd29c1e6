//! Where a vault may be mounted: nowhere that hides it, or that reading the vault itself would have to pass through.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::problem::{Problem, Sentence};

/// Refuses a mount point inside, over or under the vault, one that is no directory, and one that holds something.
/// Directories are compared by what they are, not by their names: a bind mount has another name.
pub fn check(vault: &Path, mount_point: &Path) -> Result<(), Problem> {
    let refused = |why: &str, next: &str| {
        let happened = format!("mount point {} {why}", mount_point.display());
        Err(Problem::said(Exit::Failed, Sentence::new(happened, "nothing was mounted", next)))
    };
    let Ok(full) = mount_point.canonicalize() else {
        // Missing, or dead: the server knows these cases, but a person should hear of them before the password prompt.
        return if mount_point.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            refused("does not exist", "make that directory first")
        } else {
            Ok(())
        };
    };
    if full.metadata().is_err_and(|error| error.raw_os_error() == Some(libc::ENOTCONN)) {
        let next = format!("end it with `icecore umount {}`", mount_point.display());
        return refused("is still held by a mount whose program died", &next);
    }
    if !full.is_dir() {
        return refused("is not a directory", "choose an empty directory");
    }
    let elsewhere = "choose an empty directory outside the vault";
    match (is_within(&full, vault), is_within(vault, &full)) {
        (true, true) => return refused("is the vault itself", elsewhere),
        (true, false) => return refused("lies inside the vault", elsewhere),
        (false, true) => return refused("holds the vault, which the mount would hide", elsewhere),
        (false, false) => {}
    }
    if fs::read_dir(&full).is_ok_and(|mut entries| entries.next().is_some()) {
        return refused("is not empty", "choose an empty directory");
    }
    Ok(())
}

/// Whether `path` or a directory above it is `directory`. Both are free of links.
fn is_within(path: &Path, directory: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let wanted = identity(directory);
    wanted.is_some() && path.ancestors().any(|ancestor| identity(ancestor) == wanted)
}

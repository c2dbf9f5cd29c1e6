//! Objects that nobody keeps: in a directory for temporary files, and gone with their handle.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::{DirectoryMedia, ReadMode};
use crate::error::Result;

/// A directory of its own where objects can be made. An object that was opened before it vanishes stays readable, and
/// costs room until it is closed.
pub struct TemporaryMedia {
    media: DirectoryMedia,
    path: PathBuf,
}

/// A name for a new directory where `TMPDIR` says, else in `/var/tmp` and not in `/tmp`, which is often memory.
pub fn temporary_name() -> Result<PathBuf> {
    let persistent = Path::new("/var/tmp");
    let given = std::env::var_os("TMPDIR").is_some() || !persistent.is_dir();
    let parent = if given { std::env::temp_dir() } else { persistent.to_owned() };
    Ok(parent.join(format!("icecore-{}", crate::seal::random_name()?)))
}

impl TemporaryMedia {
    /// Makes it under a [`temporary_name`], open to nobody else. What is in it is read through `mode`.
    pub fn new(folders: &[&str], mode: ReadMode) -> Result<Self> {
        let path = temporary_name()?;
        // From here on it vanishes, also where it does not get to its end.
        let temporary = Self { media: DirectoryMedia::new(&path, mode), path };
        temporary.media.initialize(folders, &[])?;
        Ok(temporary)
    }
}

impl Deref for TemporaryMedia {
    type Target = DirectoryMedia;

    fn deref(&self) -> &DirectoryMedia {
        &self.media
    }
}

impl Drop for TemporaryMedia {
    fn drop(&mut self) {
        // What can't be removed is the system's to clear away.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::TemporaryMedia;
    use crate::media::{Media, ReadMode};

    #[test]
    fn what_is_open_outlives_the_directory() {
        let temporary = TemporaryMedia::new(&["index"], ReadMode::Map).expect("a directory");
        let object = temporary.create("index/one").expect("begun");
        object.write_at(0, b"kept").expect("written");
        assert!(object.publish().expect("published"));
        let open = temporary.open("index/one").expect("opened");
        let path = temporary.path.clone();
        drop(temporary);
        assert!(!path.exists(), "{} is left", path.display());
        let mut bytes = [0; 4];
        open.read_exact_at(0, &mut bytes).expect("read");
        assert_eq!(&bytes, b"kept");
    }
}

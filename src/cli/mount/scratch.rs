//! A directory for what the serving process may have to write: it can't make one where everybody's are.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// The directory, empty and open to nobody else; removed when dropped, with all that is in it then.
pub struct Scratch(Option<PathBuf>);

impl Scratch {
    /// Makes it; where that fails there is none, and what would be written stays in memory.
    pub fn make() -> Self {
        let path = icecore::media::temporary_name().ok();
        let path = path.filter(|path| DirBuilder::new().mode(0o700).create(path).is_ok());
        // Who uses it has another current directory.
        Self(path.map(|path| path.canonicalize().unwrap_or(path)))
    }

    /// There is none.
    pub fn none() -> Self {
        Self(None)
    }

    /// Where it is, for the process that uses it and leaves it to the other to remove it.
    pub fn into_path(mut self) -> Option<PathBuf> {
        self.0.take()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What can't be removed is the system's to clear away.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

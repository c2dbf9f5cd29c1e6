//! The content of a simulated disk at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::Hash;

/// Directories and files, by absolute path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// All directories but the root.
    pub directories: BTreeSet<PathBuf>,
    /// All files with their content.
    pub files: BTreeMap<PathBuf, Arc<Vec<u8>>>,
}

impl Image {
    /// A hash over everything: equal images have equal ones.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        for directory in &self.directories {
            part(directory.as_os_str().as_encoded_bytes());
        }
        part(b"");
        for (path, content) in &self.files {
            part(path.as_os_str().as_encoded_bytes());
            part(content);
        }
        *hasher.finalize().as_bytes()
    }

    /// Writes everything below a directory of the system, for a person to look at.
    pub fn write_to(&self, folder: &Path) -> std::io::Result<()> {
        let below = |path: &Path| folder.join(path.strip_prefix("/").unwrap_or(path));
        std::fs::create_dir_all(folder)?;
        for directory in &self.directories {
            std::fs::create_dir_all(below(directory))?;
        }
        for (path, content) in &self.files {
            std::fs::write(below(path), content.as_slice())?;
        }
        Ok(())
    }

    /// Takes everything below a directory of the system.
    pub fn read_from(folder: &Path) -> std::io::Result<Self> {
        let mut image = Self::default();
        let mut folders = vec![(folder.to_path_buf(), PathBuf::from("/"))];
        while let Some((from, to)) = folders.pop() {
            for entry in std::fs::read_dir(&from)? {
                let entry = entry?;
                let path = to.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    image.directories.insert(path.clone());
                    folders.push((entry.path(), path));
                } else {
                    image.files.insert(path, Arc::new(std::fs::read(entry.path())?));
                }
            }
        }
        Ok(image)
    }
}

//! Where a disk is restored to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::piece::ALIGNMENT;
use crate::error::{Error, Result};
use crate::media::files::{Files, SystemFiles};
use crate::media::start_writeback;

/// Bytes at the front of a device that tell whether it holds something: boot sector, tables, the first superblocks.
const FRONT_BYTES: u64 = 1 << 20;

/// Bytes after which the system is asked to begin writing out, so that the medium works while we decode.
const WRITEBACK_BYTES: u64 = 64 << 20;

/// An open target.
pub(super) struct Target {
    file: File,
    path: PathBuf,
    /// The name that a new file has until it is whole.
    partial: Option<PathBuf>,
    force: bool,
    /// The same file, for writes past the page cache, where it can be had.
    direct: Option<File>,
    may_be_direct: AtomicBool,
    written: AtomicU64,
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { operation, path: path.clone(), source }
}

impl Target {
    /// Opens a device, or begins a file, after everything was checked that can be checked first.
    pub(super) fn open(path: &Path, size_bytes: u64, data_bytes: u64, force: bool) -> Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.file_type().is_block_device() => Self::open_device(path, size_bytes, force),
            Ok(found) if found.is_file() && force => {
                // What is replaced is the file that a link leads to; owner and mode stay what somebody chose.
                let path = path.canonicalize().map_err(failed("resolve", path))?;
                let target = Self::open_file(&path, size_bytes, data_bytes, true)?;
                std::os::unix::fs::fchown(&target.file, Some(found.uid()), Some(found.gid()))
                    .or_else(|error| if rustix::process::geteuid().is_root() { Err(error) } else { Ok(()) })
                    .and_then(|()| target.file.set_permissions(found.permissions()))
                    .map_err(failed("keep owner and mode of", &path))?;
                Ok(target)
            }
            Ok(found) if found.is_file() => Err(Error::TargetExists { path: path.to_path_buf() }),
            Ok(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a block device");
                Err(failed("restore to", path)(error))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::open_file(path, size_bytes, data_bytes, force)
            }
            Err(error) => Err(failed("restore to", path)(error)),
        }
    }

    fn of(file: File, path: &Path, partial: Option<PathBuf>, force: bool) -> Self {
        // By its descriptor and not by its name, behind which there may be another file by now.
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        let direct = OpenOptions::new().write(true).custom_flags(flags).open(itself).ok();
        let (may_be_direct, written) = (AtomicBool::new(true), AtomicU64::new(0));
        Self { file, path: path.to_path_buf(), partial, force, direct, may_be_direct, written }
    }

    fn open_device(path: &Path, size_bytes: u64, force: bool) -> Result<Self> {
        // The kernel refuses O_EXCL on a device that is mounted or otherwise claimed; no flag of ours overrides that.
        let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap_or(0);
        let opened = OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(path);
        let mut file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Error::TargetInUse {
                path: path.to_path_buf(),
                use_: "it is mounted or held by another program".to_owned(),
            },
            _ => failed("open", path)(error),
        })?;
        let available = file.seek(SeekFrom::End(0)).map_err(failed("measure", path))?;
        if available < size_bytes {
            return Err(Error::TargetTooSmall { path: path.to_path_buf(), available, needed: size_bytes });
        }
        if !force {
            let mut front = Vec::new();
            file.seek(SeekFrom::Start(0)).map_err(failed("read", path))?;
            (&file).take(FRONT_BYTES).read_to_end(&mut front).map_err(failed("read", path))?;
            if front.iter().any(|byte| *byte != 0) {
                return Err(Error::TargetExists { path: path.to_path_buf() });
            }
        }
        Ok(Self::of(file, path, None, force))
    }

    fn open_file(path: &Path, size_bytes: u64, data_bytes: u64, force: bool) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let space = rustix::fs::statvfs(folder).map_err(|error| failed("look at", folder)(error.into()))?;
        let available = space.f_bavail.saturating_mul(space.f_frsize);
        if available < data_bytes {
            return Err(Error::TargetTooSmall { path: folder.to_path_buf(), available, needed: data_bytes });
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.partial", &crate::seal::random_name()?[..8]));
        let partial = path.with_file_name(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&partial);
        let file = file.map_err(failed("create", &partial))?;
        let target = Self::of(file, path, Some(partial), force);
        target.file.set_len(size_bytes).map_err(failed("set the length of", path))?;
        Ok(target)
    }

    /// Whether zeros must be written, because what was there before shows otherwise.
    pub(super) fn needs_zeros(&self) -> bool {
        self.partial.is_none()
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        if self.write_directly(offset, bytes)? {
            return Ok(());
        }
        self.file.write_all_at(bytes, offset).map_err(failed("write", &self.path))?;
        let written = self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if (written + bytes.len() as u64) / WRITEBACK_BYTES > written / WRITEBACK_BYTES {
            start_writeback(&self.file, 0, 0);
        }
        Ok(())
    }

    /// Writes past the page cache; false where that is not possible. Whoever writes this much and reads none of it again
    /// would only fill memory, and wait for the kernel to find it.
    fn write_directly(&self, offset: u64, bytes: &[u8]) -> Result<bool> {
        let Some(direct) = self.direct.as_ref().filter(|_| self.may_be_direct.load(Ordering::Relaxed)) else {
            return Ok(false);
        };
        if !offset.is_multiple_of(ALIGNMENT as u64) || !bytes.len().is_multiple_of(ALIGNMENT) {
            return Ok(false);
        }
        match direct.write_all_at(bytes, offset) {
            Ok(()) => Ok(true),
            // The file system said that it can, and can't, or wants other multiples.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                self.may_be_direct.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(failed("write", &self.path)(error)),
        }
    }

    /// Gives the whole file its name. Unless it was to replace what is there, it does not replace what came meanwhile.
    fn take_name(&self, partial: &Path) -> Result<()> {
        if self.force {
            return fs::rename(partial, &self.path).map_err(failed("rename to", &self.path));
        }
        match SystemFiles.rename_new(partial, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::TargetExists { path: self.path.clone() })
            }
            renamed => renamed.map_err(failed("rename to", &self.path)),
        }
    }

    /// Syncs; a file then takes its name.
    pub(super) fn finish(mut self) -> Result<()> {
        self.file.sync_all().map_err(failed("sync", &self.path))?;
        if let Some(partial) = &self.partial {
            self.take_name(partial)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            self.partial = None;
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(failed("sync the folder of", &self.path))?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = fs::remove_file(partial);
        }
    }
}

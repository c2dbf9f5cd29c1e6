//! Directories that are written to, and names in them.
//!
//! A hostile guest may name one thing twice in a directory, once as a link to somewhere else, in the hope that the second
//! is written through the first. So everything is made relative to an open directory, without following links; under a
//! name of our own first, and renamed when it is whole.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use icecore::error::Error;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::cli::problem::Problem;

/// An open directory of the local file system.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub directory: OwnedFd,
    /// Where it is, for messages.
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Place {
    /// Opens a directory that the user named; links in the name are the user's own.
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let directory = fs::openat(CWD, path, DIRECTORY, Mode::empty());
        let directory = directory.map_err(|error| Problem::file("open", path)(error.into()))?;
        Ok(Self { directory, path: path.to_path_buf() })
    }

    /// The path of a name here.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(std::ffi::OsStr::from_bytes(name))
    }

    /// An error of the system, told of a name here.
    pub fn failed(&self, operation: &'static str, name: &[u8]) -> impl Fn(Errno) -> Problem + use<> {
        let failed = Problem::file(operation, &self.path_of(name));
        move |error| failed(io::Error::from(error))
    }

    /// Makes a directory, or enters one that is there. It is for nobody else's eyes until it is whole.
    pub fn enter(&self, name: &[u8]) -> Result<Self, Problem> {
        match fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed("create", name)(error)),
        }
        match fs::openat(&self.directory, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(directory) => Ok(Self { directory, path: self.path_of(name) }),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Error::TargetExists { path: self.path_of(name) }.into()),
            Err(error) => Err(self.failed("open", name)(error)),
        }
    }

    /// Whether anything has that name.
    pub fn holds(&self, name: &[u8]) -> bool {
        fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether the name belongs to something that a copy must never take the place of: a device, a pipe, a directory.
    pub fn holds_special(&self, name: &[u8]) -> bool {
        fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| {
            !matches!(fs::FileType::from_raw_mode(found.st_mode), fs::FileType::RegularFile | fs::FileType::Symlink)
        })
    }

    /// A name for something unfinished.
    pub fn begin(&self) -> Result<Unfinished<'_>, Problem> {
        let name = format!(".icecore-{}", &icecore::seal::random_name()?[..16]);
        Ok(Unfinished { place: self, name: name.into_bytes(), finished: false })
    }
}

/// Something that is being made, removed again unless it is finished.
#[derive(Debug)]
pub struct Unfinished<'a> {
    place: &'a Place,
    /// Its name for now.
    pub name: Vec<u8>,
    finished: bool,
}

impl Unfinished<'_> {
    /// Gives it its name. `replace` puts it in the place of a file that has the name.
    pub fn finish(mut self, name: &[u8], replace: bool) -> Result<(), Problem> {
        let directory = &self.place.directory;
        let renamed = if replace {
            fs::renameat(directory, &*self.name, directory, name)
        } else {
            match fs::renameat_with(directory, &*self.name, directory, name, RenameFlags::NOREPLACE) {
                // File systems that can't: a second name never replaces anything either.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    fs::linkat(directory, &*self.name, directory, name, AtFlags::empty())
                        .and_then(|()| fs::unlinkat(directory, &*self.name, AtFlags::empty()))
                }
                renamed => renamed,
            }
        };
        match renamed {
            Ok(()) => {
                self.finished = true;
                Ok(())
            }
            Err(Errno::EXIST) => Err(Error::TargetExists { path: self.place.path_of(name) }.into()),
            Err(error) => Err(self.place.failed("create", name)(error)),
        }
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // Perhaps it was never made.
            let _ = fs::unlinkat(&self.place.directory, &*self.name, AtFlags::empty());
        }
    }
}

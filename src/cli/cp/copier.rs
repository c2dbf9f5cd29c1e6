//! Copies nodes of a tree into local directories.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::vec::IntoIter;

use icecore::error::Error;
use icecore_fuse::{Attributes, FileType, NodeId};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::content::{self, Keep};
use super::place::{Place, Unfinished};
use super::{Arguments, is_directory};
use crate::cli::output;
use crate::cli::paths::{self, PathTree};
use crate::cli::problem::Problem;
use crate::cli::salvage::Lost;
use crate::cli::signals::Interrupt;
use crate::cli::stale::StaleWarnings;
use crate::cli::walk::{self, Entered, Entry};

/// Deepest nesting of directories: each one that is being filled is held open.
const MOST_DEPTH: usize = 512;

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    recursive: bool,
    replace: bool,
    devices: bool,
    salvage: bool,
    keep: Keep,
}

impl From<&Arguments> for Options {
    fn from(arguments: &Arguments) -> Self {
        let owner = rustix::process::geteuid().is_root();
        Self {
            recursive: arguments.recursive,
            replace: arguments.force,
            devices: arguments.devices,
            salvage: arguments.salvage.salvage,
            keep: Keep { rights: arguments.keep_modes, owner },
        }
    }
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Pipes and devices.
    pub others: u64,
    /// Bytes of the files, holes included.
    pub bytes: u64,
    /// What could not be copied.
    pub failed: u64,
    /// Files that have zeros where bytes are lost.
    pub incomplete: u64,
}

impl Copied {
    /// How many things were copied.
    pub fn nodes(&self) -> u64 {
        self.files + self.directories + self.links + self.others
    }
}

/// Copies, counts, and tells what it could not copy.
pub struct Copier<'a, T> {
    tree: &'a T,
    options: Options,
    interrupt: &'a Interrupt,
    as_json: bool,
    entered: Entered,
    stale: StaleWarnings,
    copied: Copied,
}

/// A directory that is being filled.
struct Frame {
    place: Place,
    attributes: Attributes,
    /// Its path in the vault.
    path: Vec<u8>,
    left: IntoIter<Entry>,
}

impl<'a, T: PathTree> Copier<'a, T> {
    /// Copies out of `tree`.
    pub fn new(tree: &'a T, options: Options, interrupt: &'a Interrupt, as_json: bool) -> Self {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        // Where that fails, deep directories may: they say so then.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        let (entered, stale) = (Entered::default(), StaleWarnings::new(as_json));
        Self { tree, options, interrupt, as_json, entered, stale, copied: Copied::default() }
    }

    /// What was copied.
    pub fn end(self) -> Copied {
        self.copied
    }

    /// Tells that something could not be copied. Only the wish to stop, and having nowhere to tell, end the command.
    pub fn failed(&mut self, path: &[u8], problem: Problem) -> Result<(), Problem> {
        let happened = match problem {
            Problem::Engine(Error::Interrupted) | Problem::OutputClosed => return Err(problem),
            Problem::Engine(error) => error.to_string(),
            Problem::Said { sentence, .. } => sentence.happened,
        };
        self.copied.failed += 1;
        output::warning(&format!("{} is not copied: {happened}", String::from_utf8_lossy(path)), self.as_json);
        Ok(())
    }

    /// Copies a node as `name` in a directory, with everything below it. An error is about the node itself; what is wrong
    /// below it is told and counted.
    pub fn copy(&mut self, path: &[u8], node: NodeId, to: &Place, name: &[u8]) -> Result<(), Problem> {
        let attributes = self.tree.attributes(node)?;
        self.stale.look(self.tree, node);
        // What another source holds too is no loop.
        self.entered = Entered::default();
        let mut stack = Vec::new();
        stack.extend(self.copy_node(path, &attributes, to, name)?);
        while let Some(frame) = stack.last_mut() {
            if self.interrupt.came() {
                return Err(Error::Interrupted.into());
            }
            let Some(entry) = frame.left.next() else {
                let Some(frame) = stack.pop() else { break };
                self.leave(&frame)?;
                continue;
            };
            let path = paths::joined(&frame.path, &entry.name);
            let is_deep = stack.len() >= MOST_DEPTH;
            let Some(frame) = stack.last() else { break };
            let copied = if is_deep && entry.kind == FileType::Directory {
                Err(Problem::file("enter", &frame.place.path_of(&entry.name))(std::io::Error::other("too deep")))
            } else {
                let attributes = self.tree.attributes(entry.node).map_err(Problem::from);
                attributes.and_then(|attributes| self.copy_node(&path, &attributes, &frame.place, &entry.name))
            };
            match copied {
                Ok(frame) => stack.extend(frame),
                Err(problem) => self.failed(&path, problem)?,
            }
        }
        Ok(())
    }

    /// Copies one node; a directory is returned to be filled.
    fn copy_node(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        to: &Place,
        name: &[u8],
    ) -> Result<Option<Frame>, Problem> {
        if name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(to.failed("create", b"")(Errno::INVAL));
        }
        match attributes.kind {
            FileType::Directory if !self.options.recursive => return Err(is_directory(path)),
            FileType::Directory => return self.enter(path, attributes, to, name).map(Some),
            _ => {}
        }
        // Asked before the work; the kernel is asked again when the copy gets its name.
        if !self.options.replace && to.holds(name) {
            return Err(Error::TargetExists { path: to.path_of(name) }.into());
        }
        if to.holds_special(name) {
            let what = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "it is neither a file nor a link");
            return Err(Error::File { operation: "replace", path: to.path_of(name), source: what }.into());
        }
        let unfinished = to.begin()?;
        let failed = to.failed("write", name);
        let mut bytes = 0;
        if attributes.kind == FileType::Regular {
            let mut lost = Lost::default();
            bytes = self.copy_file(attributes, to, &unfinished, name, &mut lost)?;
            lost.tell(path, self.as_json);
            self.copied.incomplete += u64::from(!lost.is_empty());
        } else {
            self.make_special(attributes, to, &unfinished, name)?;
            content::describe_named(attributes, to, &unfinished.name, self.options.keep).map_err(failed)?;
        }
        unfinished.finish(name, self.options.replace)?;
        match attributes.kind {
            FileType::Regular => self.copied.files += 1,
            FileType::Symlink => self.copied.links += 1,
            _ => self.copied.others += 1,
        }
        self.copied.bytes += bytes;
        Ok(None)
    }

    fn copy_file(
        &self,
        attributes: &Attributes,
        to: &Place,
        unfinished: &Unfinished<'_>,
        name: &[u8],
        lost: &mut Lost,
    ) -> Result<u64, Problem> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&to.directory, &*unfinished.name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(to.failed("create", name))?);
        let failed = Problem::file("write", &to.path_of(name));
        let bytes = content::copy_bytes(
            self.tree,
            attributes,
            &file,
            self.interrupt,
            self.options.salvage.then_some(lost),
            &failed,
        )?;
        content::describe_open(self.tree, attributes, &file, self.options.keep)
            .map_err(to.failed("set the mode of", name))?;
        Ok(bytes)
    }

    fn make_special(
        &self,
        attributes: &Attributes,
        to: &Place,
        unfinished: &Unfinished<'_>,
        name: &[u8],
    ) -> Result<(), Problem> {
        let failed = to.failed("create", name);
        let kind = match attributes.kind {
            FileType::Symlink => {
                let target = self.tree.read_link(attributes.node)?;
                return fs::symlinkat(OsStr::from_bytes(&target), &to.directory, &*unfinished.name).map_err(failed);
            }
            FileType::Fifo => fs::FileType::Fifo,
            FileType::BlockDevice if self.options.devices => fs::FileType::BlockDevice,
            FileType::CharDevice if self.options.devices => fs::FileType::CharacterDevice,
            FileType::Socket => {
                return Err(Problem::file("create", &to.path_of(name))(std::io::Error::other(
                    "a socket without its program is of no use",
                )));
            }
            _ => {
                return Err(Problem::file("create", &to.path_of(name))(std::io::Error::other(
                    "device nodes need --devices",
                )));
            }
        };
        let device = fs::makedev(attributes.device.0, attributes.device.1);
        fs::mknodat(&to.directory, &*unfinished.name, kind, Mode::RUSR | Mode::WUSR, device).map_err(failed)
    }

    fn enter(&mut self, path: &[u8], attributes: &Attributes, to: &Place, name: &[u8]) -> Result<Frame, Problem> {
        self.entered.enter(attributes.node, path)?;
        self.stale.look(self.tree, attributes.node);
        let left = walk::entries(self.tree, attributes.node)?.into_iter();
        let place = to.enter(name)?;
        self.copied.directories += 1;
        Ok(Frame { place, attributes: *attributes, path: path.to_vec(), left })
    }

    /// A directory gets its own mode and times when nothing is made in it any more.
    fn leave(&mut self, frame: &Frame) -> Result<(), Problem> {
        let described = content::describe_open(self.tree, &frame.attributes, &frame.place.directory, self.options.keep);
        match described.map_err(frame.place.failed("set the mode of", b"")) {
            Ok(()) => Ok(()),
            Err(problem) => self.failed(&frame.path, problem),
        }
    }
}

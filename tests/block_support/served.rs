//! A file system with one file, `disk.img`, that passes reads and writes through and takes down every write and every
//! sync in order; and a second one, `note`: what is written into it is taken down among them.
//!
//! It is served by a process of its own. A thread that serves must never wait for the file system that lies on the disk,
//! and one that shares its memory with the user of that file system easily does.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use rustix::mount::{UnmountFlags, unmount};

use super::trace::Operation;

const DISK: INodeNo = INodeNo(2);
const NOTE: INodeNo = INodeNo(3);

/// Nothing changes but by those who ask.
const LONG: Duration = Duration::from_secs(3600);

/// In the folder that is served from: the disk, what it was asked to do, and where it is mounted.
const IMAGE: &str = "image";
const TRACE: &str = "trace";
const MOUNT: &str = "mount";

struct Disk {
    image: File,
    trace: Mutex<File>,
    size_bytes: u64,
}

impl Disk {
    fn take_down(&self, operation: &Operation) -> Result<(), Errno> {
        operation.append(&mut self.trace.lock().unwrap_or_else(PoisonError::into_inner)).map_err(Errno::from)
    }

    fn attributes(&self, inode: INodeNo) -> Result<FileAttr, Errno> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            DISK => (FileType::RegularFile, 0o600, self.size_bytes),
            NOTE => (FileType::RegularFile, 0o600, 0),
            _ => return Err(Errno::ENOENT),
        };
        let [atime, mtime, ctime, crtime] = [SystemTime::UNIX_EPOCH; 4];
        let (blocks, nlink, uid, gid, rdev, blksize, flags) = (size / 512, 1, 0, 0, 0, 4096, 0);
        let ino = inode;
        Ok(FileAttr {
            ino,
            size,
            blocks,
            atime,
            mtime,
            ctime,
            crtime,
            kind,
            perm,
            nlink,
            uid,
            gid,
            rdev,
            blksize,
            flags,
        })
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inode = match name.to_str() {
            Some("disk.img") => DISK,
            Some("note") => NOTE,
            _ => return reply.error(Errno::ENOENT),
        };
        match self.attributes(inode) {
            Ok(attributes) => reply.entry(&LONG, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Ok(attributes) => reply.attr(&LONG, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = if inode == NOTE { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE };
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.image.read_at(&mut bytes, offset) {
            Ok(count) => reply.data(&bytes[..count]),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let done = if inode == NOTE {
            self.take_down(&Operation::Note(String::from_utf8_lossy(bytes).into_owned()))
        } else {
            let written = self.image.write_all_at(bytes, offset).map_err(Errno::from);
            written.and_then(|()| self.take_down(&Operation::Write { offset, bytes: bytes.to_vec() }))
        };
        match done {
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    /// That a descriptor was closed says nothing about the medium.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.take_down(&Operation::Flush) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    /// Without holes to punch, whoever wants zeros has to write them, and they are taken down.
    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}

/// Serves the disk in a folder until standard input ends. What the process of [`Served`] does.
pub fn serve(folder: &Path) -> io::Result<()> {
    let image = File::options().read(true).write(true).open(folder.join(IMAGE))?;
    let size_bytes = image.metadata()?.len();
    let trace = Mutex::new(File::options().append(true).create_new(true).open(folder.join(TRACE))?);
    let mount = folder.join(MOUNT);
    let mut config = fuser::Config::default();
    // One thread: the order in which requests are answered is the order in which they are taken down.
    config.n_threads = Some(1);
    let session = fuser::spawn_mount(Disk { image, trace, size_bytes }, &mount, &config)?;
    // Also when whoever started this died.
    io::stdin().read_to_end(&mut Vec::new())?;
    // Not waited for: who still has the disk open gets errors as soon as this process is gone.
    std::mem::forget(session);
    unmount(&mount, UnmountFlags::DETACH)?;
    Ok(())
}

/// A disk that is served by a process of its own, gone when dropped.
pub struct Served {
    folder: PathBuf,
    child: Child,
    lives_on: Option<ChildStdin>,
}

impl Served {
    /// Starts `server` and waits until the disk is there. The folder holds a disk made by [`image_in`].
    pub fn start(folder: &Path, mut server: Command) -> Result<Self, String> {
        std::fs::create_dir(folder.join(MOUNT)).map_err(|error| error.to_string())?;
        let mut child =
            server.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let lives_on = child.stdin.take();
        let mut served = Self { folder: folder.to_owned(), child, lives_on };
        while !served.disk().exists() {
            if let Some(status) = served.child.try_wait().map_err(|error| error.to_string())? {
                return Err(format!("the disk is not served: {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(served)
    }

    /// The disk as a file.
    pub fn disk(&self) -> PathBuf {
        self.folder.join(MOUNT).join("disk.img")
    }

    /// Says something that belongs to this moment.
    pub fn note(&self, note: &str) {
        let path = self.folder.join(MOUNT).join("note");
        let file = File::options().write(true).open(path).expect("the note");
        file.write_all_at(note.as_bytes(), 0).expect("noted");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.lives_on.take());
        let _ = self.child.wait();
    }
}

/// Where the disk is that a folder serves, beside it and not through the mount.
pub fn image_in(folder: &Path) -> PathBuf {
    folder.join(IMAGE)
}

/// What the disk of a folder was asked to do.
pub fn trace_in(folder: &Path) -> PathBuf {
    folder.join(TRACE)
}

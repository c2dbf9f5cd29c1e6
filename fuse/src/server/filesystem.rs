//! The kernel's requests, each answered by one or two calls into the tree.
//!
//! `open` is answered where large files are to be read past the page cache, which only its answer can say. Otherwise it is
//! not wanted: the kernel is told once that it need not ask, which saves two requests per file that is read. It then keeps
//! cached pages from one open to the next, for every file; that is right for mutable ones too, as they lose their pages
//! when size or time of change differ (`FUSE_AUTO_INVAL_DATA`). The same goes for `opendir`, half of all requests where
//! directories are small: the kernel keeps the entries of every directory, and of a mutable one until its time of
//! modification moves, as every tree promises that it does. Only older kernels ask for it each time.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};

use super::convert::{self, BLOCK_BYTES, absent, file_attr, swap_root, ttl};
use super::failure::{self, OnFailure};
use super::negotiate::{self, Agreed};
use super::options::MountOptions;
use super::turns::Turns;
use super::xattr;
use crate::{FileType, NodeId, ReadOnlyTree, Seek};

/// Names up to here can be looked up (`FUSE_NAME_MAX` in fs/fuse/fuse_i.h): more than the 255 bytes of most file
/// systems, as 255 UTF-16 units of NTFS take up to 765 bytes.
pub(super) const MAX_NAME_BYTES: u32 = 1024;

/// `whence` of lseek(2) (include/uapi/linux/fs.h).
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

thread_local! {
    /// What a read returns, one per serving thread, as large as the largest read so far.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Answers the kernel's requests from a tree.
pub(super) struct Server<T: ReadOnlyTree> {
    tree: Arc<T>,
    root: NodeId,
    on_failure: OnFailure<T::Error>,
    direct_io_bytes: Option<u64>,
    agreed: Agreed,
    turns: Turns,
}

/// A node as the kernel gets to know it.
pub(super) struct Described {
    pub(super) attr: FileAttr,
    pub(super) immutable: bool,
    pub(super) generation: Generation,
}

impl<T: ReadOnlyTree> Server<T> {
    pub(super) fn new(tree: Arc<T>, on_failure: OnFailure<T::Error>, options: &MountOptions) -> Self {
        Self {
            root: tree.root(),
            tree,
            on_failure,
            direct_io_bytes: options.direct_io_bytes,
            agreed: Agreed::default(),
            turns: Turns::new(options.threads.get()),
        }
    }

    pub(super) fn node(&self, inode: INodeNo) -> NodeId {
        swap_root(inode.0, self.root)
    }

    pub(super) fn inode(&self, node: NodeId) -> INodeNo {
        INodeNo(swap_root(node, self.root))
    }

    pub(super) fn ask<R>(
        &self,
        operation: &'static str,
        node: NodeId,
        call: impl FnOnce(&T) -> Result<R, T::Error>,
    ) -> Result<R, Errno> {
        failure::ask(&*self.tree, &self.on_failure, operation, node, call)
    }

    pub(super) fn is_immutable(&self, node: NodeId) -> Result<bool, Errno> {
        self.ask("is_immutable", node, |tree| Ok(tree.is_immutable(node)))
    }

    pub(super) fn describe(&self, node: NodeId) -> Result<Described, Errno> {
        self.ask("attributes", node, |tree| {
            let attributes = tree.attributes(node)?;
            let immutable = tree.is_immutable(node);
            let generation = if attributes.kind == FileType::Symlink && !immutable {
                generation(&tree.read_link(node)?)
            } else {
                Generation(0)
            };
            Ok(Described { attr: file_attr(self.inode(node), &attributes), immutable, generation })
        })
    }

    /// Fills `buffer` unless the file ends first. The kernel takes a short answer for the end of the file and makes
    /// zeros of the rest, so a tree that stops early is asked again.
    fn fill(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.ask("read", node, |tree| {
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match tree.read(node, offset.saturating_add(filled as u64), rest)? {
                    0 => break,
                    bytes => filled += bytes,
                }
            }
            Ok(filled)
        })
    }
}

/// A number that differs when a mutable link leads elsewhere. The kernel caches targets with no limit in time, and
/// never looks again while number and generation are the same; another generation makes it forget the old node.
fn generation(target: &[u8]) -> Generation {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    Generation(hasher.finish())
}

impl<T: ReadOnlyTree + 'static> Filesystem for Server<T> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.agreed = negotiate::agree(config, self.direct_io_bytes);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turns.begin();
        let parent = self.node(parent);
        let found = self.ask("lookup", parent, |tree| {
            let node = tree.lookup(parent, name.as_bytes())?;
            Ok((node, tree.is_immutable(parent)))
        });
        match found {
            Ok((Some(node), names_stay)) => match self.describe(node) {
                Ok(Described { attr, immutable, generation }) => {
                    reply.entry_with_ttls(&ttl(immutable), &ttl(names_stay), &attr, generation);
                }
                Err(errno) => reply.error(errno),
            },
            Ok((None, true)) => reply.entry(&convert::IMMUTABLE_TTL, &absent(), Generation(0)),
            Ok((None, false)) => reply.error(Errno::ENOENT),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.turns.begin();
        let node = self.node(inode);
        let answer = self.ask("attributes", node, |tree| Ok((tree.attributes(node)?, tree.is_immutable(node))));
        match answer {
            Ok((attributes, immutable)) => reply.attr(&ttl(immutable), &file_attr(inode, &attributes)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        let _turn = self.turns.begin();
        let node = self.node(inode);
        match self.ask("read_link", node, |tree| tree.read_link(node)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.begin();
        if self.agreed.no_open {
            return reply.error(Errno::ENOSYS);
        }
        let node = self.node(inode);
        let told = self.ask("open", node, |tree| Ok((tree.attributes(node)?.size_bytes, tree.is_immutable(node))));
        match told {
            Ok((size_bytes, immutable)) => {
                let direct = self.agreed.direct_io_bytes.is_some_and(|least| size_bytes >= least);
                // Pages that are there stay: of a large file, those that somebody mapped into memory.
                let keep = if immutable { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
                reply.opened(FileHandle(0), if direct { keep | FopenFlags::FOPEN_DIRECT_IO } else { keep });
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _turn = self.turns.begin();
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match self.fill(self.node(inode), offset, &mut buffer[..size]) {
                Ok(filled) if filled <= size => reply.data(&buffer[..filled]),
                Ok(_) => reply.error(Errno::EIO),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn lseek(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let _turn = self.turns.begin();
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        let node = self.node(inode);
        match self.ask("seek", node, |tree| tree.seek(node, offset, what)) {
            Ok(Some(found)) => match i64::try_from(found) {
                Ok(found) => reply.offset(found),
                Err(_) => reply.error(Errno::EOVERFLOW),
            },
            Ok(None) => reply.error(Errno::ENXIO),
            Err(errno) => reply.error(errno),
        }
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turns.begin();
        if self.agreed.no_opendir {
            return reply.error(Errno::ENOSYS);
        }
        match self.is_immutable(self.node(inode)) {
            Ok(true) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR),
            Ok(false) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(&self, _request: &Request, inode: INodeNo, _handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _turn = self.turns.begin();
        match self.list(self.node(inode), offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _turn = self.turns.begin();
        match self.list_with_attributes(self.node(inode), offset, &mut reply) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turns.begin();
        match self.ask("space", self.root, |tree| tree.space()) {
            Ok(space) => {
                let free = space.free_bytes / u64::from(BLOCK_BYTES);
                reply.statfs(
                    space.total_bytes.div_ceil(u64::from(BLOCK_BYTES)),
                    free,
                    free,
                    space.files,
                    0,
                    BLOCK_BYTES,
                    MAX_NAME_BYTES,
                    BLOCK_BYTES,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(&self, _request: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _turn = self.turns.begin();
        let node = self.node(inode);
        match self.ask("xattr", node, |tree| tree.xattr(node, name.as_bytes())) {
            Ok(Some(value)) => xattr::answer(reply, size, &value),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, _request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turns.begin();
        let node = self.node(inode);
        match self.ask("list_xattrs", node, |tree| tree.list_xattrs(node)) {
            Ok(names) => xattr::answer(reply, size, &xattr::joined(&names)),
            Err(errno) => reply.error(errno),
        }
    }

    // Nothing is ever written, so there is nothing to flush: the kernel hears it once and asks no more.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // The kernel refuses to write before it would ask. These answers are for one that was remounted writable.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(&self, _: &Request, _: INodeNo, _: &OsStr, _: INodeNo, _: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}

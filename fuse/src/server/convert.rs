//! The tree's words into the kernel's: node numbers, attributes, times, and how long each may be cached.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, INodeNo};

use crate::{Attributes, FileType, NodeId, Timestamp};

/// How long the kernel believes what it knows of nodes and names that may change: so late may a new name appear.
pub const MUTABLE_TTL: Duration = Duration::from_secs(1);

/// How long it believes the rest: ten years, longer than a kernel runs.
pub(super) const IMMUTABLE_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The unit that space is counted in towards the kernel, and the preferred size of reads that programs are told.
pub(super) const BLOCK_BYTES: u32 = 4096;

pub(super) fn ttl(immutable: bool) -> Duration {
    if immutable { IMMUTABLE_TTL } else { MUTABLE_TTL }
}

/// The kernel calls the root 1, the tree calls it what it likes: these two numbers swap, all others stay. The swap is
/// its own inverse, so it serves both ways.
pub(super) fn swap_root(number: u64, root: NodeId) -> u64 {
    if number == root {
        INodeNo::ROOT.0
    } else if number == INodeNo::ROOT.0 {
        root
    } else {
        number
    }
}

pub(super) fn file_attr(inode: INodeNo, attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: inode,
        size: attributes.size_bytes,
        blocks: attributes.blocks_512,
        atime: system_time(attributes.accessed),
        mtime: system_time(attributes.modified),
        ctime: system_time(attributes.changed),
        // Not sent: Linux asks for it by STATX, which fuser 0.18 does not speak.
        crtime: attributes.created.map_or(UNIX_EPOCH, system_time),
        kind: kind(attributes.kind),
        perm: attributes.mode & 0o7777,
        nlink: attributes.links,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: device_number(attributes.device),
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// What the kernel gets in a listing for a name whose attributes cannot be had, and for `.` and `..`: number and kind,
/// and a size that no file can have, at which it keeps the name but does not enter the node into its cache
/// (`fuse_invalid_attr` in fs/fuse/dir.c). So one damaged file does not hide its neighbours, and whoever looks at it
/// gets its error.
pub(super) fn name_only(inode: INodeNo, of_kind: FileType) -> FileAttr {
    FileAttr {
        ino: inode,
        size: u64::MAX,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(of_kind),
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// "No such name", which unlike the error may be cached: an entry for node zero (`fuse_lookup_name` in fs/fuse/dir.c).
pub(super) fn absent() -> FileAttr {
    name_only(INodeNo(0), FileType::Regular)
}

pub(super) fn kind(kind: FileType) -> fuser::FileType {
    match kind {
        FileType::Directory => fuser::FileType::Directory,
        FileType::Regular => fuser::FileType::RegularFile,
        FileType::Symlink => fuser::FileType::Symlink,
        FileType::BlockDevice => fuser::FileType::BlockDevice,
        FileType::CharDevice => fuser::FileType::CharDevice,
        FileType::Fifo => fuser::FileType::NamedPipe,
        FileType::Socket => fuser::FileType::Socket,
    }
}

/// Seconds may be negative and nanoseconds count upwards from them all the same, as in the kernel. Nanoseconds that
/// are none, and seconds beyond the platform's, come from damaged or hostile disks: the nearest sound value will do.
fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let nanoseconds = Duration::from_nanos(u64::from(time.nanoseconds.min(999_999_999)));
    let whole = if time.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    whole.and_then(|whole| whole.checked_add(nanoseconds)).unwrap_or(UNIX_EPOCH)
}

/// Twelve bits of major and twenty of minor number, the minor's upper twelve on top (`new_encode_dev` in
/// include/linux/kdev_t.h).
fn device_number((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_one_swap_both_ways() {
        for root in [1, 2, 77, u64::MAX] {
            assert_eq!(swap_root(root, root), 1);
            assert_eq!(swap_root(1, root), root);
            for number in [2, 3, 77, u64::MAX] {
                assert_eq!(swap_root(swap_root(number, root), root), number);
            }
        }
    }

    #[test]
    fn times_beyond_reason_do_not_panic() {
        for seconds in [i64::MIN, i64::MIN + 1, -1, 0, 1 << 40, i64::MAX] {
            for nanoseconds in [0, 999_999_999, u32::MAX] {
                system_time(Timestamp { seconds, nanoseconds });
            }
        }
    }

    #[test]
    fn device_numbers_are_packed_as_the_kernel_unpacks_them() {
        assert_eq!(device_number((8, 1)), 0x801);
        assert_eq!(device_number((0xfff, 0xfffff)), u32::MAX);
        assert_eq!(device_number((259, 0x12345)), 0x1231_0345);
    }
}

//! What a file is: its bytes, and what is known about it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use icecore::error::Error;
use icecore_fuse::{Attributes, FileType, Harmless, NodeId, ReadOnlyTree, Seek, Timestamp};
use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use super::place::Place;
use crate::cli::problem::Problem;
use crate::cli::salvage::{self, Lost};
use crate::cli::signals::Interrupt;

/// Bytes copied at a time.
const BLOCK_BYTES: u64 = 1 << 20;

/// What may be kept of a file.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Set-user-id and set-group-id bits, and capabilities.
    pub rights: bool,
    /// The owner.
    pub owner: bool,
}

/// Copies the bytes of a file, holes left as holes. Returns its size in bytes. Where `lost` is given, bytes that are lost
/// become zeros and are told there; otherwise they are an error.
pub fn copy_bytes(
    tree: &impl ReadOnlyTree<Error = Error>,
    attributes: &Attributes,
    to: &File,
    interrupt: &Interrupt,
    mut lost: Option<&mut Lost>,
    failed: &impl Fn(std::io::Error) -> Problem,
) -> Result<u64, Problem> {
    let (node, size) = (attributes.node, attributes.size_bytes);
    to.set_len(size).map_err(failed)?;
    let mut buffer = vec![0; usize::try_from(size.min(BLOCK_BYTES)).unwrap_or(0)];
    let mut at = 0;
    while at < size {
        let found = tree.seek(node, at, Seek::Data).and_then(|start| {
            // A tree that finds no hole says that data goes to the end.
            start.map(|start| Ok((start, tree.seek(node, start, Seek::Hole)?.unwrap_or(size).min(size)))).transpose()
        });
        let (start, end) = match found {
            Ok(Some(found)) => found,
            Ok(None) => break,
            // Where what tells data from holes is lost, all that follows may be data.
            Err(_) if lost.is_some() => (at, size),
            Err(error) => return Err(error.into()),
        };
        if start < at || end <= start {
            break;
        }
        at = start;
        while at < end {
            if interrupt.came() {
                return Err(Error::Interrupted.into());
            }
            let want = usize::try_from((end - at).min(BLOCK_BYTES)).unwrap_or(0);
            let length = match &mut lost {
                Some(lost) => salvage::read_around(tree, node, at, &mut buffer[..want], lost)?,
                None => tree.read(node, at, &mut buffer[..want])?,
            };
            if length == 0 {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            to.write_all_at(&buffer[..length], at).map_err(failed)?;
            at += length as u64;
        }
    }
    Ok(size)
}

/// Gives an open file or directory what is known of it. What the local file system or user can't take is left out, as in
/// `cp -a`; but rights are never wider than asked for.
pub fn describe_open(
    tree: &impl ReadOnlyTree<Error = Error>,
    attributes: &Attributes,
    to: impl AsFd,
    keep: Keep,
) -> Result<(), rustix::io::Errno> {
    // The owner first: changing it takes set-user-id bits away. Then attributes, which may change the mode.
    let owned = !keep.owner
        || fs::fchown(&to, Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid))).is_ok();
    copy_xattrs(tree, attributes.node, &to, keep);
    fs::fchmod(&to, mode(attributes, Keep { rights: keep.rights && owned, ..keep }))?;
    fs::futimens(&to, &times(attributes))
}

/// The same for what can't be opened: links, pipes, devices. There are no attributes then.
pub fn describe_named(
    attributes: &Attributes,
    place: &Place,
    name: &[u8],
    keep: Keep,
) -> Result<(), rustix::io::Errno> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    if keep.owner {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        // As root on a file system without owners.
        let _ = fs::chownat(&place.directory, name, Some(uid), Some(gid), nofollow);
    }
    if attributes.kind != FileType::Symlink {
        fs::chmodat(&place.directory, name, mode(attributes, keep), AtFlags::empty())?;
    }
    fs::utimensat(&place.directory, name, &times(attributes), nofollow)
}

fn copy_xattrs(tree: &impl ReadOnlyTree<Error = Error>, node: NodeId, to: impl AsFd, keep: Keep) {
    for name in tree.list_xattrs(node).unwrap_or_default() {
        if Harmless::is_withheld(&name) && !keep.rights {
            continue;
        }
        if let Ok(Some(value)) = tree.xattr(node, &name) {
            // Best effort: many file systems take only some, and only root may set others.
            let _ = fs::fsetxattr(&to, &*name, &value, XattrFlags::empty());
        }
    }
}

fn mode(attributes: &Attributes, keep: Keep) -> Mode {
    let bits = if keep.rights { attributes.mode } else { Harmless::mode(attributes.mode) };
    Mode::from_raw_mode(u32::from(bits & 0o7777))
}

fn times(attributes: &Attributes) -> Timestamps {
    let time = |time: Timestamp| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
    Timestamps { last_access: time(attributes.accessed), last_modification: time(attributes.modified) }
}

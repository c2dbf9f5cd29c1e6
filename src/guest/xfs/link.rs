//! Targets of symbolic links ("XFS Filesystem Structure", "Symbolic Links").

use crate::guest::bytes::{be32_at, narrow, slice_at, wide};
use crate::guest::{Damage, Error, Fault, Object};

use super::Xfs;
use super::block::{Block, REMOTE, has_magic};
use super::inode::{Format, Inode, Which};

/// No longer target can be made.
const BYTES_MAX: u64 = 1024;

impl Xfs {
    /// The target of a symbolic link.
    pub(super) fn link_target(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let damage = |fault| Damage { object: Object::LinkTarget { inode: inode.number }, fault };
        let length = inode.size_bytes;
        if length == 0 || length > BYTES_MAX {
            return Err(damage(Fault::Field { field: "di_size", value: length }).into());
        }
        let length = narrow(length);
        let mut target = if inode.data.format == Format::Local {
            slice_at(&inode.data.bytes, 0, length).ok_or(damage(Fault::CutShort))?.to_vec()
        } else {
            self.remote_target(inode, length)?
        };
        // What follows a NUL would never reach whoever reads the link.
        if let Some(end) = target.iter().position(|byte| *byte == 0) {
            target.truncate(end);
        }
        Ok(target)
    }

    /// In version 5 each run of blocks begins with a header.
    fn remote_target(&self, inode: &Inode, length: usize) -> Result<Vec<u8>, Error> {
        let damage = |fault| Error::from(Damage { object: Object::LinkTarget { inode: inode.number }, fault });
        let header_bytes = if self.sb.is_v5 { REMOTE.bytes } else { 0 };
        let mut target = Vec::with_capacity(length);
        // As many blocks as the target takes where each has a header.
        let end = wide(length).div_ceil(self.sb.block_bytes - wide(header_bytes));
        let mut at = 0;
        while target.len() < length {
            let window = self.window(inode, Which::Data, at)?;
            let run = window.run_from(at).filter(|run| run.logical <= at).ok_or(damage(Fault::CutShort))?;
            let blocks = run.end().min(end).saturating_sub(at);
            let read = self.read_blocks(inode, Which::Data, at, blocks)?;
            let block = read.ok_or(damage(Fault::CutShort))?;
            if self.sb.is_v5 {
                check(self, &block, inode.number, wide(target.len())).map_err(damage)?;
            }
            let content = block.bytes.get(header_bytes..).unwrap_or_default();
            target.extend(content.iter().take(length - target.len()));
            at += blocks;
        }
        Ok(target)
    }
}

fn check(xfs: &Xfs, block: &Block, owner: u64, offset: u64) -> Result<(), Fault> {
    if !has_magic(&block.bytes, b"XSLM") {
        return Err(Fault::Magic);
    }
    REMOTE.check(&xfs.sb, block, owner)?;
    match be32_at(&block.bytes, 4).map(u64::from) {
        Some(found) if found == offset => Ok(()),
        found => Err(Fault::Field { field: "sl_offset", value: found.unwrap_or_default() }),
    }
}

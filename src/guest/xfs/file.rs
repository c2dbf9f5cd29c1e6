//! Contents of forks: reading, and finding holes.

use icecore_fuse::{FileType, Seek};

use crate::guest::bytes::{narrow, wide};
use crate::guest::{Error, Feature};

use super::Xfs;
use super::block::Block;
use super::inode::{Inode, Which};

/// A stretch of a fork's content.
pub(super) struct Piece {
    pub length: u64,
    /// Where it lies in the volume, in bytes; `None` in a hole.
    pub at: Option<u64>,
}

impl Xfs {
    /// Fills the buffer from `offset` on, up to the inode's size; answers the number of bytes filled.
    pub(super) fn read_content(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        check_readable(inode)?;
        let left = inode.size_bytes.saturating_sub(offset);
        let length = buffer.len().min(narrow(left));
        let Some(mut rest) = buffer.get_mut(..length) else {
            return Ok(0);
        };
        let mut at = offset;
        while !rest.is_empty() {
            let piece = self.piece(inode, Which::Data, at, wide(rest.len()))?;
            let Some((now, later)) = rest.split_at_mut_checked(narrow(piece.length)) else {
                break;
            };
            match piece.at {
                // However long the run, it goes to the caller's buffer in one piece, without a copy.
                Some(place) => self.volume.read_exact_at(place, now)?,
                None => now.fill(0),
            }
            at = at.saturating_add(piece.length);
            rest = later;
        }
        Ok(length)
    }

    /// The stretch from `offset` on that lies together, `length_max` bytes at most and never empty.
    pub(super) fn piece(&self, inode: &Inode, which: Which, offset: u64, length_max: u64) -> Result<Piece, Error> {
        let block_bytes = self.sb.block_bytes;
        let block = offset / block_bytes;
        let window = self.window(inode, which, block)?;
        // Runs lie in the file system, whose size in bytes fits in 64 bits; logical ends may saturate.
        let until = |end: u64| end.saturating_mul(block_bytes).saturating_sub(offset).min(length_max);
        Ok(match window.run_from(block) {
            Some(run) if run.logical <= block => {
                let at = (run.physical + (block - run.logical)) * block_bytes + offset % block_bytes;
                Piece { length: until(run.end()), at: Some(at) }
            }
            Some(run) => Piece { length: until(run.logical), at: None },
            None => Piece { length: until(window.end), at: None },
        })
    }

    pub(super) fn seek_content(&self, inode: &Inode, offset: u64, what: Seek) -> Result<Option<u64>, Error> {
        check_readable(inode)?;
        if offset >= inode.size_bytes {
            return Ok(None);
        }
        let mut at = offset;
        while at < inode.size_bytes {
            let piece = self.piece(inode, Which::Data, at, inode.size_bytes - at)?;
            if piece.at.is_some() == (what == Seek::Data) {
                return Ok(Some(at));
            }
            at = at.saturating_add(piece.length);
        }
        Ok((what == Seek::Hole).then_some(inode.size_bytes))
    }

    /// Reads `blocks` blocks of a fork; `None` where one of them is a hole.
    pub(super) fn read_blocks(
        &self,
        inode: &Inode,
        which: Which,
        first: u64,
        blocks: u64,
    ) -> Result<Option<Block>, Error> {
        let mut bytes = vec![0; narrow(blocks.saturating_mul(self.sb.block_bytes))];
        let mut place = None;
        let mut is_replayed = false;
        let mut rest = bytes.as_mut_slice();
        let mut at = first.saturating_mul(self.sb.block_bytes);
        while !rest.is_empty() {
            let piece = self.piece(inode, which, at, wide(rest.len()))?;
            let (Some(from), Some((now, later))) = (piece.at, rest.split_at_mut_checked(narrow(piece.length))) else {
                return Ok(None);
            };
            self.volume.read_exact_at(from, now)?;
            place.get_or_insert(from);
            is_replayed |= self.is_replayed(from, piece.length);
            at = at.saturating_add(piece.length);
            rest = later;
        }
        Ok(place.map(|place| Block { place, bytes, is_replayed }))
    }
}

/// The blocks of a realtime file are those of another device.
fn check_readable(inode: &Inode) -> Result<(), Error> {
    let is_elsewhere = inode.is_realtime && inode.kind == FileType::Regular;
    if is_elsewhere { Err(Error::Unsupported(Feature::Xfs("files on the realtime device"))) } else { Ok(()) }
}

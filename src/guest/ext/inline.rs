//! Small contents that lie in the inode itself (kernel documentation, ext4, "Inline Data").
//!
//! The first 60 bytes are `i_block`; what does not fit continues as the value of the extended attribute `system.data`.

use crate::guest::Error;
use crate::guest::bytes::{narrow, slice_at, u32_at};

use super::Ext;
use super::dir::Chunk;
use super::inode::Inode;

impl Ext {
    /// The whole inline content, not cut to the inode's size.
    pub(super) fn inline_content(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        let mut content = inode.block.to_vec();
        if let Some(more) = self.inline_tail(inode)? {
            content.extend_from_slice(&more);
        }
        Ok(content)
    }

    /// Fills the whole buffer; where the content is shorter than the inode's size, with zeros.
    pub(super) fn read_inline(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let content = self.inline_content(inode)?;
        buffer.fill(0);
        let from = content.get(narrow(offset)..).unwrap_or_default();
        for (into, byte) in buffer.iter_mut().zip(from) {
            *into = *byte;
        }
        Ok(())
    }

    /// An inline directory as its parent and the chunks of entries that it consists of.
    ///
    /// It begins with the parent's inode number in place of `.` and `..`; the entries in `i_block` and those in the
    /// attribute are two chains, neither of which reaches into the other.
    pub(super) fn inline_directory(&self, inode: &Inode) -> Result<(u64, Vec<Chunk>), Error> {
        let content = self.inline_content(inode)?;
        let content = slice_at(&content, 0, narrow(inode.size_bytes)).unwrap_or(&content);
        let parent = u32_at(&inode.block, 0).unwrap_or_default().into();
        let split = content.len().min(inode.block.len());
        let head = content.get(4..split).unwrap_or_default().to_vec();
        let tail = content.get(split..).unwrap_or_default().to_vec();
        let mut chunks = vec![Chunk { offset: 4, bytes: head }];
        if !tail.is_empty() {
            chunks.push(Chunk { offset: 60, bytes: tail });
        }
        Ok((parent, chunks))
    }
}

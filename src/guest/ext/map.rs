//! Which blocks hold an inode's data, a [`Window`] at a time.

use std::sync::Arc;

use crate::guest::window::{Builder, Window};
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::inode::{Inode, flags};

impl Ext {
    /// The window that has a logical block of an inode.
    pub(super) fn window(&self, inode: &Inode, block: u64) -> Result<Arc<Window>, Error> {
        let number = Window::number_of(block);
        let key = (inode.number, number);
        if let Some(known) = self.windows.get(key) {
            return Ok(known);
        }
        let mut builder = Builder::new(number);
        if inode.has_flag(flags::EXTENTS) {
            self.decode_extents(inode, &mut builder)?;
        } else {
            self.decode_indirect(inode, &mut builder)?;
        }
        let mut window = builder.finish();
        if let Some(changed) = self.changes.inode(inode.number) {
            window = window.with(number, &changed.edits);
        }
        let bytes = window.weight_bytes();
        Ok(self.windows.insert(key, window, bytes))
    }

    /// Reads a block of an inode's map.
    pub(super) fn read_map_block(&self, inode: &Inode, block: u64) -> Result<Vec<u8>, Error> {
        let damage = |fault| Damage { object: Object::MapBlock { inode: inode.number, block }, fault };
        self.check_blocks(block, 1).map_err(damage)?;
        self.read_block(block)
    }

    /// Whether blocks lie in the file system, behind its first block.
    pub(super) fn check_blocks(&self, first: u64, length: u64) -> Result<(), Fault> {
        let end = first.checked_add(length);
        if first > 0 && first >= self.sb.first_data_block && end.is_some_and(|end| end <= self.sb.blocks) {
            return Ok(());
        }
        Err(Fault::BlockOutOfRange { block: first })
    }
}

//! Block maps of ext2 and ext3 (kernel documentation, ext4, "Direct/Indirect Block Addressing").
//!
//! Twelve block numbers in `i_block`, then a block of numbers, a block of such blocks, and one more level. The three
//! levels bound the depth however the blocks refer to each other.

use crate::guest::bytes::u32_at;
use crate::guest::window::{Builder, Run};
use crate::guest::{Damage, Error, Fault, Object};

use super::Ext;
use super::inode::Inode;

const DIRECT: u64 = 12;

/// Block numbers that cover consecutive logical blocks.
struct Numbers<'a> {
    bytes: &'a [u8],
    /// Where they lie; zero for the inode.
    block: u64,
    /// How many levels of blocks lie between each number and the data.
    level: u32,
    /// The logical block that the first number leads to.
    first: u64,
}

impl Ext {
    pub(super) fn decode_indirect(&self, inode: &Inode, into: &mut Builder) -> Result<(), Error> {
        let end = inode.size_bytes.div_ceil(self.sb.block_bytes);
        let (direct, indirect) = inode.block.split_at(48);
        let numbers = Numbers { bytes: direct, block: 0, level: 0, first: 0 };
        if !self.decode_numbers(inode, &numbers, end, into)? {
            return Ok(());
        }
        let mut first = DIRECT;
        for (level, bytes) in (1..).zip(indirect.chunks_exact(4)) {
            let numbers = Numbers { bytes, block: 0, level, first };
            if !self.decode_numbers(inode, &numbers, end, into)? {
                return Ok(());
            }
            first += self.span(level);
        }
        Ok(())
    }

    /// Logical blocks that one number covers: at most 2^42, three levels of 64 KiB blocks.
    fn span(&self, level: u32) -> u64 {
        (self.sb.block_bytes / 4).pow(level)
    }

    /// Answers false where the window is complete or the file ends.
    fn decode_numbers(
        &self,
        inode: &Inode,
        numbers: &Numbers<'_>,
        end: u64,
        into: &mut Builder,
    ) -> Result<bool, Error> {
        let span = self.span(numbers.level);
        let mut logical = numbers.first;
        for number in numbers.bytes.chunks_exact(4).filter_map(|bytes| u32_at(bytes, 0)).map(u64::from) {
            if logical >= end {
                return Ok(false);
            }
            if number != 0
                && !into.is_behind(logical + span)
                && (!into.wants(logical) || !self.decode_number(inode, numbers, number, logical, end, into)?)
            {
                return Ok(false);
            }
            logical += span;
        }
        Ok(true)
    }

    fn decode_number(
        &self,
        inode: &Inode,
        numbers: &Numbers<'_>,
        block: u64,
        logical: u64,
        end: u64,
        into: &mut Builder,
    ) -> Result<bool, Error> {
        let Some(level) = numbers.level.checked_sub(1) else {
            let object = Object::MapBlock { inode: inode.number, block: numbers.block };
            self.check_blocks(block, 1).map_err(|fault: Fault| Damage { object, fault })?;
            into.push(Run { logical, length: 1, physical: block });
            return Ok(true);
        };
        let bytes = self.read_map_block(inode, block)?;
        self.decode_numbers(inode, &Numbers { bytes: &bytes, block, level, first: logical }, end, into)
    }
}

//! Where a disk holds anything: the places that random reads and writes go to.

use std::path::Path;

use anyhow::Result;
use icecore_fixtures::Rng;

use crate::reads;

/// Length of a page in bytes.
pub const PAGE_BYTES: usize = 4096;

/// The pages of a disk that are not all zeros.
pub struct Pages {
    /// Their numbers, ascending.
    numbers: Vec<u32>,
}

impl Pages {
    /// Reads the whole disk once.
    pub fn of(disk: &Path) -> Result<Self> {
        let mut numbers = reads::blocks_with_data(disk)?;
        numbers.sort_unstable();
        numbers.dedup();
        Ok(Self { numbers })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// The offset of one of them, in bytes.
    pub fn random(&self, random: &mut Rng) -> u64 {
        u64::from(self.numbers[random.below(self.count()) as usize]) * PAGE_BYTES as u64
    }

    /// The first of them at or after an offset, and how many follow each other from there, at most `most`.
    pub fn run_from(&self, offset: u64, most: usize) -> Option<(u64, usize)> {
        let wanted = u32::try_from(offset / PAGE_BYTES as u64).ok()?;
        let numbers = &self.numbers[self.numbers.partition_point(|number| *number < wanted)..];
        let first = *numbers.first()?;
        let count = numbers.iter().zip(first..).take_while(|(number, next)| *number == next).take(most).count();
        Some((u64::from(first) * PAGE_BYTES as u64, count))
    }
}

//! Days of scattered small writes over a disk image, as a database or a mail server makes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use icecore::point::ByteRange;
use icecore::source::{RawSource, Source};
use icecore_fixtures::{Content, Kind, Rng};

use crate::pages::{PAGE_BYTES, Pages};

/// Writes of a day, each of one to four pages.
pub const WRITES_A_DAY: usize = 2000;

/// One write in two goes to a place of its own; the others follow the one before at most this far, in bytes.
pub const NEAR_BYTES: u64 = 256 << 10;

/// A disk image and what was written over it since.
#[derive(Clone)]
pub struct Written {
    base: Arc<RawSource>,
    /// Pages by their number. They lie where the image holds data, so that its own hole map stays right.
    pages: Arc<BTreeMap<u64, Arc<[u8]>>>,
}

impl Written {
    /// An image as it is.
    pub fn over(image: &Path) -> Result<Self> {
        Ok(Self { base: Arc::new(RawSource::open(image)?), pages: Arc::default() })
    }

    /// Another day passes. Returns what was written.
    pub fn pass_day(&mut self, day: u64, pages: &Pages) -> Vec<ByteRange> {
        let mut random = Rng::labelled(day, b"writes of a day");
        let over = Arc::make_mut(&mut self.pages);
        let mut at = pages.random(&mut random);
        let mut ranges = Vec::with_capacity(WRITES_A_DAY);
        for _ in 0..WRITES_A_DAY {
            let place = if random.below(2) == 0 { pages.random(&mut random) } else { at + random.below(NEAR_BYTES) };
            let most = 1 + random.below(4) as usize;
            let Some((start, count)) = pages.run_from(place, most) else { continue };
            // What databases write compresses as their pages do.
            let content = Content::generated(Kind::Database, random.next(), (count * PAGE_BYTES) as u64).piece(0);
            for (number, page) in (start / PAGE_BYTES as u64..).zip(content.chunks_exact(PAGE_BYTES)) {
                over.insert(number, page.into());
            }
            at = start + content.len() as u64;
            ranges.push(ByteRange { start, end: at });
        }
        ranges
    }

    /// Writes ranges into a copy of the image, which then is what this is.
    pub fn write_into(&self, copy: &Path, ranges: &[ByteRange]) -> Result<()> {
        let file = File::options().write(true).open(copy)?;
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.resize(usize::try_from(range.bytes())?, 0);
            self.read_at(range.start, &mut bytes)?;
            file.write_all_at(&bytes, range.start)?;
        }
        Ok(file.sync_all()?)
    }
}

impl Source for Written {
    fn size_bytes(&self) -> u64 {
        self.base.size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.base.read_at(offset, buffer)?;
        let (page_bytes, end) = (PAGE_BYTES as u64, offset + length as u64);
        for (number, page) in self.pages.range(offset / page_bytes..end.div_ceil(page_bytes)) {
            let start = number * page_bytes;
            let (from, to) = (start.max(offset), (start + page_bytes).min(end));
            buffer[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&page[(from - start) as usize..(to - start) as usize]);
        }
        Ok(length)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.base.next_data(offset)
    }
}

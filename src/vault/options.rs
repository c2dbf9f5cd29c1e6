//! What can be chosen when a vault is made or opened.

use crate::error::{Error, Result};
use crate::format::header::{CHUNK_SIZE_LOG2, LEVELS, PARITY_PERCENT, SEGMENT_BYTES};
use crate::media::ReadMode;
use crate::seal::PasswordCost;
use crate::store::CacheSizes;

/// What `init` decides, for the life of the vault.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Size of chunks in bytes, a power of two from 4 KiB to 4 MiB.
    pub chunk_bytes: u32,
    /// zstd level, -7 to 22.
    pub level: i8,
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u32,
    /// Parity of each segment in hundredths of it, 0 to 20; 0 for none.
    ///
    /// With 5, the default, any 3 MiB of bad sectors in a row are mended in a segment of 64 MiB, and a few hundred single
    /// ones where they fall evenly. Disks lose single sectors and short runs of them, near to each other, seldom more than
    /// some dozens (Bairavasundaram et al., SIGMETRICS 2007; Schroeder et al., FAST 2010); SSDs lose pages of up to 16 KiB, or
    /// an erase block of some MiB whose pages are dealt to many places. Less would save next to no time, as the code's costs
    /// grow with the logarithm of the parity; more would take space from those who lose no disk slowly.
    pub parity_percent: u8,
    /// What a password costs to try.
    pub password_cost: PasswordCost,
    /// What people call the first key; may be empty.
    pub label: String,
    /// How published objects are read in this process.
    pub read_mode: ReadMode,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self {
            chunk_bytes: 64 << 10,
            level: 1,
            segment_bytes: 64 << 20,
            parity_percent: 5,
            password_cost: PasswordCost::default(),
            label: String::new(),
            read_mode: ReadMode::default(),
        }
    }
}

impl InitOptions {
    pub(super) fn chunk_size_log2(&self) -> Result<u8> {
        let log2 = u8::try_from(self.chunk_bytes.trailing_zeros()).unwrap_or(u8::MAX);
        if self.chunk_bytes.is_power_of_two() && CHUNK_SIZE_LOG2.contains(&log2) {
            return Ok(log2);
        }
        Err(Error::Invalid {
            what: "chunk size",
            value: self.chunk_bytes.to_string(),
            rule: "it must be a power of two from 4096 (4KiB) to 4194304 (4MiB) bytes",
        })
    }

    /// Fails where a value can't be used.
    pub(crate) fn check(&self) -> Result<()> {
        self.chunk_size_log2()?;
        let invalid = |what, value: String, rule| Err(Error::Invalid { what, value, rule });
        if !LEVELS.contains(&self.level) {
            return invalid("compression level", self.level.to_string(), "zstd knows -7 to 22");
        }
        if !SEGMENT_BYTES.contains(&self.segment_bytes) {
            return invalid("segment size", self.segment_bytes.to_string(), "it must be from 1 MiB to 1 GiB");
        }
        if !PARITY_PERCENT.contains(&self.parity_percent) {
            return invalid("parity", self.parity_percent.to_string(), "it must be from 0 to 20 hundredths");
        }
        Ok(())
    }
}

/// How a vault is opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// How published objects are read.
    pub read_mode: ReadMode,
    /// How much decoded data is kept in memory.
    pub cache: CacheSizes,
    /// Whether a vault that lost its headers is opened by what a key slot and the points say, and points that the catalog
    /// lost are looked for in the segments. Such a vault is only read.
    pub salvage: bool,
}

//! What a vault takes on its medium.

use super::Store;
use crate::error::Result;
use crate::format::{parity, segment};

/// What segments and parity take: nearly all of a vault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Number of segments.
    pub segments: u64,
    /// Bytes of those.
    pub segment_bytes: u64,
    /// Number of parity objects.
    pub parities: u64,
    /// Bytes of those.
    pub parity_bytes: u64,
}

impl Space {
    /// Bytes of both.
    pub fn bytes(&self) -> u64 {
        self.segment_bytes.saturating_add(self.parity_bytes)
    }
}

impl Store {
    /// What segments and parity take now.
    pub fn space(&self) -> Result<Space> {
        let count = |folder: &str, is_ours: &dyn Fn(&str) -> bool| -> Result<(u64, u64)> {
            let (mut objects, mut bytes) = (0, 0_u64);
            for name in self.media.list(folder)?.iter().filter(|name| is_ours(name)) {
                match self.media.open(&format!("{folder}/{name}")) {
                    Ok(object) => (objects, bytes) = (objects + 1, bytes.saturating_add(object.length())),
                    // Somebody gave its space back just now.
                    Err(error) if error.is_absent() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok((objects, bytes))
        };
        let (segments, segment_bytes) = count(segment::FOLDER, &|name| segment::id_of(name).is_some())?;
        let (parities, parity_bytes) = count(parity::FOLDER, &|name| parity::id_of(name).is_some())?;
        Ok(Space { segments, segment_bytes, parities, parity_bytes })
    }
}

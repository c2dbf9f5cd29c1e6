//! exFAT (Microsoft, "exFAT file system specification", 3.1 and 7.3). All fields are little-endian:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 72 | 8 | sectors in all |
//! | 88 | 4 | sector in which the first cluster begins, number 2 |
//! | 96 | 4 | first cluster of the root directory |
//! | 100 | 4 | serial number |
//! | 108 | 1 | binary logarithm of the bytes in a sector |
//! | 109 | 1 | binary logarithm of the sectors in a cluster |

use super::{Identity, boot_sector, read_some, serial, slice_at, u8_at, u32_at, u64_at, utf16};
use crate::guest::{BlockRead, Error};

const ENTRY_BYTES: usize = 32;
const LABEL: u8 = 0x83;

pub(super) fn identify(volume: &dyn BlockRead) -> Result<Identity, Error> {
    let sector = boot_sector(volume)?;
    let parse = || {
        let sector_bits = u32::from(u8_at(&sector, 108).filter(|bits| (9..=12).contains(bits))?);
        let cluster_bits = Some(sector_bits + u32::from(u8_at(&sector, 109)?)).filter(|bits| *bits <= 25)?;
        let first_bytes = u64::from(u32_at(&sector, 88)?) << sector_bits;
        let root_bytes = u64::from(u32_at(&sector, 96)?.checked_sub(2)?) << cluster_bits;
        let identity = Identity {
            label: None,
            uuid: u32_at(&sector, 100).map(serial),
            size_bytes: u64_at(&sector, 72)?.checked_mul(1 << sector_bits),
            used_bytes: None,
        };
        Some((identity, first_bytes.checked_add(root_bytes)?, 1 << cluster_bits))
    };
    let Some((mut identity, root_at, root_bytes)) = parse() else { return Ok(Identity::default()) };
    let directory = read_some(volume, root_at, root_bytes)?;
    let entry = directory.chunks_exact(ENTRY_BYTES).take_while(|entry| entry.first() != Some(&0));
    identity.label = entry.filter(|entry| entry.first() == Some(&LABEL)).find_map(|entry| {
        let length = usize::from(u8_at(entry, 1)?.min(11)) * 2;
        slice_at(entry, 2, length).and_then(utf16)
    });
    Ok(identity)
}

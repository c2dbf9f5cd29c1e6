//! A logical volume as a disk: stretches of it, each of them striped over one or more devices.

use std::sync::Arc;

use crate::guest::bytes::{narrow, wide};
use crate::guest::{BlockRead, MediumError};

/// A part of a device.
#[derive(Clone)]
pub(super) struct Area {
    pub device: Arc<dyn BlockRead>,
    /// Where it begins there, in bytes.
    pub start: u64,
}

/// A stretch of a volume.
#[derive(Clone)]
pub(super) struct Stretch {
    /// Where it begins in the volume, in bytes.
    pub start: u64,
    pub length: u64,
    /// Bytes that lie together on one area before the next one's turn comes.
    pub stripe_bytes: u64,
    /// At least one.
    pub areas: Vec<Area>,
}

/// A volume that is made of stretches, in order and without gaps.
pub(super) struct Mapped {
    size_bytes: u64,
    stretches: Vec<Stretch>,
}

impl Mapped {
    /// `None` where the stretches leave gaps, overlap, or lead out of their devices.
    pub fn new(stretches: Vec<Stretch>) -> Option<Self> {
        let mut end = 0_u64;
        for stretch in &stretches {
            let areas = wide(stretch.areas.len());
            let is_even = areas > 0 && stretch.stripe_bytes > 0 && stretch.length.is_multiple_of(areas);
            if stretch.start != end || !is_even {
                return None;
            }
            // Each area takes an equal part; whole stripes, or the last ones would lead past an area's end.
            let part = stretch.length / areas;
            if areas > 1 && !part.is_multiple_of(stretch.stripe_bytes) {
                return None;
            }
            let fits = |area: &Area| area.start.checked_add(part).is_some_and(|end| end <= area.device.size_bytes());
            if !stretch.areas.iter().all(fits) {
                return None;
            }
            end = end.checked_add(stretch.length)?;
        }
        Some(Self { size_bytes: end, stretches })
    }

    /// Where a byte lies, and how many from there on lie together.
    fn place(&self, offset: u64) -> Option<(&Area, u64, u64)> {
        let after = self.stretches.partition_point(|stretch| stretch.start <= offset);
        let stretch = self.stretches.get(after.checked_sub(1)?)?;
        let within = offset.checked_sub(stretch.start).filter(|within| *within < stretch.length)?;
        if let [area] = stretch.areas.as_slice() {
            return Some((area, area.start.checked_add(within)?, stretch.length - within));
        }
        let areas = wide(stretch.areas.len());
        let (stripe, rest) = (within / stretch.stripe_bytes, within % stretch.stripe_bytes);
        let area = stretch.areas.get(narrow(stripe % areas))?;
        let at = (stripe / areas).checked_mul(stretch.stripe_bytes)?.checked_add(rest)?.checked_add(area.start)?;
        Some((area, at, stretch.stripe_bytes - rest))
    }
}

impl BlockRead for Mapped {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        let (mut offset, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let past_end = || MediumError("a read past the end of a logical volume".into());
            let (area, at, together) = self.place(offset).ok_or_else(past_end)?;
            let length = rest.len().min(narrow(together));
            let (now, later) = rest.split_at_mut_checked(length).ok_or_else(past_end)?;
            area.device.read_exact_at(at, now)?;
            offset = offset.saturating_add(wide(length));
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl BlockRead for Bytes {
        fn size_bytes(&self) -> u64 {
            wide(self.0.len())
        }

        fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
            buffer.copy_from_slice(&self.0[narrow(offset)..][..buffer.len()]);
            Ok(())
        }
    }

    fn device(from: u8) -> Arc<dyn BlockRead> {
        Arc::new(Bytes((from..from + 64).collect()))
    }

    // Promise 2. Any range of a volume of a linear and a striped part reads what device-mapper would give.
    #[test]
    fn every_range_of_linear_and_striped_stretches() {
        let (a, b) = (device(0), device(100));
        let area = |device: &Arc<dyn BlockRead>, start| Area { device: Arc::clone(device), start };
        let stretches = vec![
            Stretch { start: 0, length: 10, stripe_bytes: 10, areas: vec![area(&b, 50)] },
            Stretch { start: 10, length: 24, stripe_bytes: 4, areas: vec![area(&a, 8), area(&b, 0)] },
        ];
        let mut expected: Vec<u8> = (150..160).collect();
        for row in 0..3_u8 {
            expected.extend(8 + row * 4..12 + row * 4);
            expected.extend(100 + row * 4..104 + row * 4);
        }
        let volume = Mapped::new(stretches).expect("a volume");
        assert_eq!(volume.size_bytes(), 34);
        for start in 0..34 {
            for length in 0..=34 - start {
                let mut buffer = vec![0; length];
                volume.read_exact_at(wide(start), &mut buffer).expect("a read");
                assert_eq!(buffer, expected[start..start + length], "{length} from {start}");
            }
        }
        assert!(volume.read_exact_at(30, &mut [0; 5]).is_err());
    }

    // Promise 2. Stretches that can't be are refused: gaps, ends outside, uneven stripes.
    #[test]
    fn impossible_stretches_are_refused() {
        let one = |start, length, stripe_bytes, at| {
            let areas = vec![Area { device: device(0), start: at }, Area { device: device(0), start: at }];
            Mapped::new(vec![Stretch { start, length, stripe_bytes, areas }]).is_some()
        };
        assert!(one(0, 128, 4, 0));
        assert!(!one(1, 128, 4, 0) && !one(0, 128, 4, 1) && !one(0, 127, 4, 0) && !one(0, 120, 8, 0));
        assert!(!one(0, 128, 0, 0) && !one(0, 128, 4, u64::MAX));
    }
}

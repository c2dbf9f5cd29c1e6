//! A logical volume as a disk: stretches of it, each with a rule that says where its bytes lie.
//!
//! Invariants of every [`Mapped`]:
//! - its stretches follow each other without gap or overlap;
//! - no byte of it lies outside of the device that it is read from.

use std::sync::Arc;

use crate::guest::bytes::{narrow, wide};
use crate::guest::{BlockRead, MediumError};

use super::parity;
use super::pieces::{self, Source, past_end};
use super::segment::Parity;

/// A part of a device.
#[derive(Clone)]
pub(super) struct Area {
    pub device: Arc<dyn BlockRead>,
    /// Where it begins there, in bytes.
    pub start: u64,
}

/// Where the bytes of a stretch lie.
pub(super) enum Rule {
    /// So many bytes on each area in turn; all of them on the only one.
    Striped { stripe_bytes: u64, areas: Vec<Area> },
    /// The same, with parity on some area of each row.
    Parity { parity: Parity, stripe_bytes: u64, areas: Vec<Area> },
    /// Nowhere: zeros.
    Zero,
    /// Nowhere: the guest itself gets an error there.
    Error,
}

/// Consecutive bytes of a volume.
pub(super) struct Stretch {
    /// Where it begins in the volume, in bytes.
    pub start: u64,
    pub length: u64,
    pub rule: Rule,
}

/// A volume that is made of stretches.
pub(super) struct Mapped {
    size_bytes: u64,
    stretches: Vec<Stretch>,
}

impl Stretch {
    /// The bytes of each area that belong to it; `None` where the numbers do not come out even.
    fn part_bytes(&self) -> Option<(&[Area], u64)> {
        let (areas, stripe_bytes, data) = match &self.rule {
            Rule::Striped { stripe_bytes, areas } => (areas, *stripe_bytes, wide(areas.len())),
            Rule::Parity { parity, stripe_bytes, areas } => {
                (areas, *stripe_bytes, wide(areas.len()).checked_sub(parity::count(*parity))?)
            }
            Rule::Zero | Rule::Error => return Some((&[], 0)),
        };
        if data == 0 || stripe_bytes == 0 || !self.length.is_multiple_of(data) {
            return None;
        }
        let part = self.length.checked_div(data)?;
        // Whole stripes, or the last ones would lead past an area's end.
        (areas.len() == 1 || part.is_multiple_of(stripe_bytes)).then_some((areas, part))
    }

    /// Where a byte lies, and how many from there on lie together; `None` where there is only an error.
    fn find(&self, within: u64) -> Option<(Source<'_>, u64)> {
        let left = self.length.checked_sub(within)?;
        let (stripe_bytes, areas) = match &self.rule {
            Rule::Zero => return Some((Source::Zeros, left)),
            Rule::Error => return None,
            Rule::Striped { areas, .. } if areas.len() == 1 => {
                let area = areas.first()?;
                return Some((Source::Device(area.device.as_ref(), area.start.checked_add(within)?), left));
            }
            Rule::Striped { stripe_bytes, areas } | Rule::Parity { stripe_bytes, areas, .. } => (*stripe_bytes, areas),
        };
        let (stripe, rest) = (within.checked_div(stripe_bytes)?, within.checked_rem(stripe_bytes)?);
        let count = wide(areas.len());
        let (row, number) = match &self.rule {
            Rule::Parity { parity, .. } => {
                let data = count.checked_sub(parity::count(*parity))?;
                let (row, number) = (stripe.checked_div(data)?, stripe.checked_rem(data)?);
                (row, parity::device(*parity, count, row, number)?)
            }
            _ => (stripe.checked_div(count)?, stripe.checked_rem(count)?),
        };
        let area = areas.get(narrow(number))?;
        let at = row.checked_mul(stripe_bytes)?.checked_add(rest)?.checked_add(area.start)?;
        Some((Source::Device(area.device.as_ref(), at), stripe_bytes.checked_sub(rest)?))
    }
}

impl Mapped {
    /// `None` where the stretches leave gaps, overlap, or lead out of their devices.
    pub fn new(stretches: Vec<Stretch>) -> Option<Self> {
        let mut end = 0_u64;
        for stretch in &stretches {
            let (areas, part) = stretch.part_bytes()?;
            let fits = |area: &Area| area.start.checked_add(part).is_some_and(|end| end <= area.device.size_bytes());
            if stretch.start != end || !areas.iter().all(fits) {
                return None;
            }
            end = end.checked_add(stretch.length)?;
        }
        (!stretches.is_empty()).then_some(Self { size_bytes: end, stretches })
    }

    fn find(&self, offset: u64) -> Result<(Source<'_>, u64), MediumError> {
        let after = self.stretches.partition_point(|stretch| stretch.start <= offset);
        let stretch = after.checked_sub(1).and_then(|at| self.stretches.get(at)).ok_or_else(past_end)?;
        let within = offset.checked_sub(stretch.start).filter(|within| *within < stretch.length);
        let found = stretch.find(within.ok_or_else(past_end)?);
        found.ok_or_else(|| MediumError("the guest itself has nothing but an error here".into()))
    }
}

impl BlockRead for Mapped {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), MediumError> {
        pieces::read(offset, buffer, |offset| self.find(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::testing::Bytes;

    fn device(from: u8) -> Arc<dyn BlockRead> {
        Arc::new(Bytes((from..from + 64).collect()))
    }

    fn striped(start: u64, length: u64, stripe_bytes: u64, areas: Vec<Area>) -> Stretch {
        Stretch { start, length, rule: Rule::Striped { stripe_bytes, areas } }
    }

    // Promise 2. Any range of a volume of a linear, an empty and a striped part reads what device-mapper would give.
    #[test]
    fn every_range_of_linear_zero_and_striped_stretches() {
        let (a, b) = (device(0), device(100));
        let area = |device: &Arc<dyn BlockRead>, start| Area { device: Arc::clone(device), start };
        let stretches = vec![
            striped(0, 10, 10, vec![area(&b, 50)]),
            Stretch { start: 10, length: 5, rule: Rule::Zero },
            striped(15, 24, 4, vec![area(&a, 8), area(&b, 0)]),
        ];
        let mut expected: Vec<u8> = (150..160).chain([0; 5]).collect();
        for row in 0..3_u8 {
            expected.extend(8 + row * 4..12 + row * 4);
            expected.extend(100 + row * 4..104 + row * 4);
        }
        let volume = Mapped::new(stretches).expect("a volume");
        assert_eq!(volume.size_bytes(), 39);
        for start in 0..39 {
            for length in 0..=39 - start {
                let mut buffer = vec![0xEE; length];
                volume.read_exact_at(wide(start), &mut buffer).expect("a read");
                assert_eq!(buffer, expected[start..start + length], "{length} from {start}");
            }
        }
        assert!(volume.read_exact_at(35, &mut [0; 5]).is_err());
    }

    // Promise 2. Stretches that can't be are refused: gaps, ends outside, uneven stripes.
    #[test]
    fn impossible_stretches_are_refused() {
        let one = |start, length, stripe_bytes, at| {
            let areas = vec![Area { device: device(0), start: at }, Area { device: device(0), start: at }];
            Mapped::new(vec![striped(start, length, stripe_bytes, areas)]).is_some()
        };
        assert!(one(0, 128, 4, 0));
        assert!(!one(1, 128, 4, 0) && !one(0, 128, 4, 1) && !one(0, 127, 4, 0) && !one(0, 120, 8, 0));
        assert!(!one(0, 128, 0, 0) && !one(0, 128, 4, u64::MAX) && Mapped::new(Vec::new()).is_none());
    }
}

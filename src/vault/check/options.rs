//! What of a vault a check looks at, and for how long.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::Id;

/// What a check looks at. The default is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// Only the segments of this part.
    pub subset: Option<Subset>,
    /// No segment is begun after this time. At least one is looked at, so that any number of runs gets through.
    pub max_time: Option<Duration>,
}

impl VerifyOptions {
    /// Whether segments may be left out.
    pub(super) fn is_partial(&self) -> bool {
        self.subset.is_some() || self.max_time.is_some()
    }
}

/// One part of the segments, where all are dealt to several by their ids. A segment stays in its part whatever others
/// come and go, so one run for each part looks at everything once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subset {
    number: u32,
    parts: u32,
}

impl Subset {
    /// Part `number`, from 1, of so many.
    pub fn new(number: u32, parts: u32) -> Result<Self> {
        if number == 0 || number > parts {
            let rule = "the part's number must be from 1 to the number of parts";
            return Err(Error::Invalid { what: "subset", value: format!("{number}/{parts}"), rule });
        }
        Ok(Self { number, parts })
    }

    /// Whether a segment falls to this part.
    pub fn has(&self, segment: &Id) -> bool {
        // Ids are random: any of their bits deal evenly.
        let [low, ..] = segment.as_chunks::<8>().0 else { return false };
        u64::from_le_bytes(*low) % u64::from(self.parts) == u64::from(self.number - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::Subset;

    #[test]
    fn every_segment_falls_to_one_part() {
        let ids = (0..200_u64).map(|number| {
            let mut id = [7; 16];
            id.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..16]);
            id
        });
        let parts: Vec<Subset> = (1..=7).map(|number| Subset::new(number, 7).expect("a part")).collect();
        let mut sizes = [0; 7];
        for id in ids {
            let mut having = (0..7).filter(|number| parts[*number].has(&id));
            sizes[having.next().expect("somebody has it")] += 1;
            assert_eq!(having.next(), None);
        }
        assert!(sizes.iter().all(|size| *size > 5), "{sizes:?}");
    }

    #[test]
    fn parts_are_counted_from_one() {
        for (number, parts) in [(0, 3), (4, 3), (0, 0), (1, 0)] {
            assert!(Subset::new(number, parts).is_err(), "{number}/{parts}");
        }
    }
}

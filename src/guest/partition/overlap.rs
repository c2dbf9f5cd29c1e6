//! Which of several overlapping volumes is the one that lies.

use std::collections::BTreeMap;

use super::{Volume, VolumeProblem};

/// Marks volumes that overlap others.
///
/// Smaller volumes are believed first, so that one entry that claims the whole disk costs none but itself.
pub(super) fn mark(volumes: &mut [Volume]) {
    let mut order: Vec<&mut Volume> = volumes.iter_mut().filter(|volume| volume.problem.is_none()).collect();
    order.sort_by_key(|volume| (volume.size_bytes, volume.number));
    // Start of each volume believed so far -> its end and number. They do not overlap, so only the last one that
    // starts before another's end can reach into it.
    let mut believed: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
    for volume in order {
        let end = volume.start.saturating_add(volume.size_bytes);
        match believed.range(..end).next_back() {
            Some((_, (other_end, with))) if *other_end > volume.start => {
                volume.problem = Some(VolumeProblem::Overlaps { with: *with });
            }
            _ => {
                believed.insert(volume.start, (end, volume.number));
            }
        }
    }
}

//! What the parts allow: the least time that a run can take.
//!
//! Each stage's bytes at the rate of the part that it must do, added up, on the cores that the run can use; or all
//! written bytes at the rate of the medium, or all reading from a disk that memory does not hold, whichever is most,
//! since these go on at once. What no part stands for
//! (looking up, handing over, allocating) is not in it: that is overhead.

use super::number;
use super::report::{Bound, Medium, Part, Primitive};
use super::stopwatch::Taken;
use crate::meter::Stage;

/// The part that a stage does; none for what is overhead.
fn part(stage: Stage) -> Option<Part> {
    match stage {
        Stage::Read => Some(Part::Read),
        Stage::Scan => Some(Part::Scan),
        Stage::Hash | Stage::VerifyHash | Stage::Rehash | Stage::Checksum => Some(Part::Hash),
        Stage::Compress => Some(Part::Compress),
        Stage::Seal => Some(Part::Seal),
        Stage::VerifyOpen | Stage::Open => Some(Part::Open),
        Stage::VerifyDecompress | Stage::Decompress => Some(Part::Decompress),
        Stage::Append | Stage::Write => Some(Part::Write),
        Stage::Fetch => Some(Part::Copy),
        Stage::Parity => Some(Part::Parity),
        Stage::LookUp | Stage::Sync | Stage::WriteSync => None,
    }
}

/// What a bound is made from.
pub(super) struct Allowed<'a> {
    pub primitives: &'a [Primitive],
    /// The vault's zstd level.
    pub level: i8,
    pub medium: &'a Medium,
    /// Whether the disk comes from the page cache: reading it is work for a core then, and not for its medium.
    pub cached: bool,
}

/// The bound of a run that dealt with `bytes` used bytes. `cores` of `workers` can work on it at once.
pub(super) fn bound(taken: &Taken, bytes: u64, allowed: &Allowed<'_>, (cores, workers): (usize, usize)) -> Bound {
    let rate = |part: Part| {
        let fits = |of: &&Primitive| of.part == part && of.level.is_none_or(|level| level == allowed.level);
        let primitive = allowed.primitives.iter().find(fits)?;
        let all = primitive.all_cores_bytes_per_second * number(cores as u64) / number(workers.max(1) as u64);
        Some(if cores == 1 { primitive.one_core_bytes_per_second } else { all }.max(1.0))
    };
    let bytes_of = |stage| taken.stages.iter().find(|time| time.stage == stage).map_or(0, |time| time.bytes);
    let (mut processor, mut written, mut reading) = (0.0, 0, 0.0);
    for time in &taken.stages {
        let Some(part) = part(time.stage) else { continue };
        let count = match part {
            // What is not zero shows that with its first bytes.
            Part::Scan => time.bytes.saturating_sub(bytes_of(Stage::Hash)),
            _ => time.bytes,
        };
        let seconds = rate(part).map_or(0.0, |rate| number(count) / rate);
        match part {
            Part::Read if !allowed.cached => reading += seconds,
            _ => processor += seconds,
        }
        if part == Part::Write {
            written += count;
        }
    }
    let medium = f64::max(reading, number(written) / allowed.medium.write_sync_bytes_per_second.max(1.0));
    let seconds = f64::max(processor, medium);
    Bound {
        seconds,
        bytes_per_second: number(bytes) / seconds.max(1e-9),
        reached: seconds / taken.seconds.max(1e-9),
        by_medium: medium > processor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::StageTime;
    use std::time::Duration;

    fn stage(stage: Stage, bytes: u64) -> StageTime {
        StageTime { stage, calls: 1, bytes, processor: Duration::ZERO, elapsed: Duration::ZERO }
    }

    fn primitive(part: Part, level: Option<i8>, one: f64, all: f64) -> Primitive {
        Primitive {
            part,
            level,
            name: String::new(),
            one_core_bytes_per_second: one,
            all_cores_bytes_per_second: all,
            cycles_per_byte: 1.0,
        }
    }

    #[test]
    fn every_byte_passes_every_part_once_and_the_medium_meanwhile() {
        let primitives = [
            primitive(Part::Hash, None, 100.0, 200.0),
            primitive(Part::Compress, Some(3), 1.0, 1.0),
            primitive(Part::Compress, Some(1), 10.0, 20.0),
            primitive(Part::Write, None, 1000.0, 2000.0),
        ];
        let mut medium = Medium {
            file_system: String::new(),
            is_memory: false,
            write_sync_bytes_per_second: 1000.0,
            small_sync_seconds: 0.0,
        };
        let stages = vec![
            stage(Stage::Hash, 400),
            stage(Stage::Compress, 400),
            stage(Stage::Append, 200),
            stage(Stage::Sync, 0),
        ];
        let taken = Taken { seconds: 44.2, processor_seconds: 0.0, stages, stolen: 0.0, others: 0.0 };
        let of = |medium: &Medium, cores| {
            bound(&taken, 4420, &Allowed { primitives: &primitives, level: 1, medium, cached: true }, cores)
        };
        let on_two = of(&medium, (2, 2));
        assert!((on_two.seconds - 22.1).abs() < 1e-9 && (on_two.reached - 0.5).abs() < 1e-9, "{on_two:?}");
        assert!((on_two.bytes_per_second - 200.0).abs() < 1e-9 && !on_two.by_medium, "{on_two:?}");
        assert!((of(&medium, (1, 2)).seconds - 44.2).abs() < 1e-9);
        medium.write_sync_bytes_per_second = 2.0;
        let slow = of(&medium, (2, 2));
        assert!((slow.seconds - 100.0).abs() < 1e-9 && slow.by_medium, "{slow:?}");
    }
}

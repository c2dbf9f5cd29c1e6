//! What limits a run, in words.

use super::number;
use super::report::{Bound, Limit, LimitKind, Run};
use super::stopwatch::Taken;
use crate::meter::Stage;

/// From here on cores count as busy.
const BUSY: f64 = 0.85;

/// A thread that waits in one stage for this part of the time explains why cores are idle.
const WAITING: f64 = 0.25;

/// Where others have this part of all cores, they are what limits.
const CROWDED: f64 = 0.15;

/// What limits a run that `cores` can work on.
pub(super) fn limit(taken: &Taken, bound: &Bound, cores: usize) -> Limit {
    let seconds = taken.seconds.max(1e-9);
    let used = taken.processor_seconds / seconds;
    let busy = (used / number(cores as u64)).min(1.0);
    let most = taken.stages.iter().max_by_key(|time| time.processor);
    let claimed: f64 = taken.stages.iter().map(|time| time.processor.as_secs_f64()).sum();
    let (stage, share) = match most {
        // What no stage claims counts as a stage.
        Some(time) if time.processor.as_secs_f64() >= taken.processor_seconds - claimed => {
            (time.stage.name(), time.processor.as_secs_f64())
        }
        _ => ("everything else", taken.processor_seconds - claimed),
    };
    let share = share / taken.processor_seconds.max(1e-9);
    let work = format!("{stage} {:.0} % of processor time", share * 100.0);
    let limit = |kind, stage: &str, text| Limit { kind, stage: stage.to_owned(), text };
    let whole = match cores {
        1 => "the core it can use".to_owned(),
        2 => "both cores".to_owned(),
        cores => format!("{cores} cores"),
    };
    if busy >= BUSY {
        let text = format!("{work}; {whole} busy {:.0} %", busy * 100.0);
        return limit(LimitKind::Processor, stage, text);
    }
    if taken.others + taken.stolen >= CROWDED {
        let (who, part) = match taken.stolen > taken.others {
            true => ("the host", taken.stolen),
            false => ("other programs", taken.others),
        };
        let text = format!("{who} had {:.0} % of the cores; {work}", part * 100.0);
        return limit(LimitKind::Others, stage, text);
    }
    let idle = format!("{whole} idle {:.0} %", (1.0 - busy) * 100.0);
    let waited = |time: &crate::meter::StageTime| time.elapsed.saturating_sub(time.processor).as_secs_f64() / seconds;
    let waits = taken.stages.iter().map(|time| (time.stage, waited(time)));
    let longest = waits.filter(|(stage, _)| may_wait(*stage)).max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((stage, part)) = longest.filter(|(_, part)| *part >= WAITING) {
        let why = if bound.by_medium { " (the medium)" } else { "" };
        let text = format!("{}{why}: waited {:.0} % of the time; {idle}", stage.name(), part.min(1.0) * 100.0);
        return limit(LimitKind::Waiting, stage.name(), text);
    }
    if cores > 1 && (BUSY..1.2).contains(&used) {
        return limit(LimitKind::OneThread, stage, format!("one core at a time: {work}; {idle}"));
    }
    limit(LimitKind::Handover, stage, format!("waiting for each other: {idle}; {work}"))
}

/// Whether a stage can wait for anything but a free core.
fn may_wait(stage: Stage) -> bool {
    matches!(stage, Stage::Read | Stage::Append | Stage::Sync | Stage::Fetch | Stage::Write | Stage::WriteSync)
}

/// One sentence on the whole, from its first run, which is the first backup.
pub(super) fn conclusion(runs: &[Run]) -> String {
    let Some(run) = runs.first() else { return String::new() };
    let reached = (run.bound.reached * 100.0).min(100.0);
    let help = match run.limit.kind {
        LimitKind::Processor if run.limit.stage == Stage::Compress.name() => "more or faster cores, or a lower --level",
        LimitKind::Processor => "more or faster cores",
        LimitKind::Others => "cores of its own",
        LimitKind::Waiting if run.limit.stage == Stage::Read.name() => "a faster disk to read from",
        LimitKind::Waiting => "a faster medium under the vault",
        LimitKind::OneThread | LimitKind::Handover => "faster cores rather than more",
    };
    format!(
        "A first backup reaches {reached:.0} % of what {} here; {} would help most ({}).",
        if run.bound.by_medium { "the medium allows" } else { "the parts allow" },
        help,
        run.limit.text
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::StageTime;
    use std::time::Duration;

    fn stage(stage: Stage, processor: f64, elapsed: f64) -> StageTime {
        let (processor, elapsed) = (Duration::from_secs_f64(processor), Duration::from_secs_f64(elapsed));
        StageTime { stage, calls: 1, bytes: 1, processor, elapsed }
    }

    fn limit_of(processor_seconds: f64, stages: Vec<StageTime>, cores: usize) -> (LimitKind, String) {
        let taken = Taken { seconds: 10.0, processor_seconds, stages, stolen: 0.0, others: 0.1 };
        let bound = Bound { seconds: 5.0, bytes_per_second: 1.0, reached: 0.5, by_medium: false };
        let limit = limit(&taken, &bound, cores);
        (limit.kind, limit.text)
    }

    #[test]
    fn the_words_follow_the_numbers() {
        let busy = limit_of(19.0, vec![stage(Stage::Compress, 11.4, 12.0), stage(Stage::Sync, 0.0, 8.0)], 2);
        let text = "compress (zstd) 60 % of processor time; both cores busy 95 %";
        assert_eq!(busy, (LimitKind::Processor, text.to_owned()));
        let waiting = limit_of(8.0, vec![stage(Stage::Compress, 7.0, 9.0), stage(Stage::Sync, 0.0, 6.0)], 2);
        let text = "fsync of segments: waited 60 % of the time; both cores idle 60 %";
        assert_eq!(waiting, (LimitKind::Waiting, text.to_owned()));
        let alone = limit_of(9.9, vec![stage(Stage::Decompress, 6.0, 6.0)], 4);
        assert_eq!(alone.0, LimitKind::OneThread);
        let other = limit_of(5.0, vec![stage(Stage::Hash, 1.0, 1.0)], 2);
        assert_eq!(other.0, LimitKind::Handover);
        assert!(other.1.contains("everything else 80 %"), "{}", other.1);
    }
}

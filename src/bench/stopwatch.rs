//! Times one run: elapsed, processor, stages, and what the host took away meanwhile.

use std::time::Instant;

use super::{machine, number};
use crate::error::Result;
use crate::meter::{Meter, StageTime, process_time};

/// What a run took.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub seconds: f64,
    pub processor_seconds: f64,
    pub stages: Vec<StageTime>,
    /// What the host took away, as a part of all cores' time.
    pub stolen: f64,
    /// What other programs used, as a part of all cores' time.
    pub others: f64,
}

/// Runs `work` with the meter on.
pub(super) fn taken<R>(meter: &Meter, work: impl FnOnce() -> Result<R>) -> Result<(Taken, R)> {
    let ticks = machine::ticks();
    meter.start();
    let (began, processor) = (Instant::now(), process_time());
    let outcome = work();
    let (seconds, processor) = (began.elapsed().as_secs_f64(), process_time().saturating_sub(processor));
    let stages = meter.stop();
    let ticks = machine::ticks().since(ticks);
    let part = |of: u64| if ticks.all == 0 { 0.0 } else { number(of) / number(ticks.all) };
    // The kernel counts all cores of the machine, whether this process may use them or not.
    let ours = processor.as_secs_f64() / seconds.max(1e-9) / number(machine::all_cores());
    let others = (part(ticks.used) - ours).max(0.0);
    let processor_seconds = processor.as_secs_f64();
    Ok((Taken { seconds, processor_seconds, stages, stolen: part(ticks.stolen), others }, outcome?))
}

/// Does a run twice, told which time it is; what the faster one took.
pub(super) fn faster_of_two(mut run: impl FnMut(usize) -> Result<Taken>) -> Result<Taken> {
    let (first, second) = (run(0)?, run(1)?);
    Ok(if second.seconds < first.seconds { second } else { first })
}

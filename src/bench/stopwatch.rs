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
    pub stolen: f64,
}

/// Runs `work` with the meter on.
pub(super) fn taken<R>(meter: &Meter, work: impl FnOnce() -> Result<R>) -> Result<(Taken, R)> {
    let (all_before, stolen_before) = machine::ticks();
    meter.start();
    let (began, processor) = (Instant::now(), process_time());
    let outcome = work();
    let (seconds, processor) = (began.elapsed().as_secs_f64(), process_time().saturating_sub(processor));
    let stages = meter.stop();
    let (all, stolen) = machine::ticks();
    let (all, stolen) = (all.saturating_sub(all_before), stolen.saturating_sub(stolen_before));
    let stolen = if all == 0 { 0.0 } else { number(stolen) / number(all) };
    Ok((Taken { seconds, processor_seconds: processor.as_secs_f64(), stages, stolen }, outcome?))
}

/// Does a run twice, told which time it is; what the faster one took.
pub(super) fn faster_of_two(mut run: impl FnMut(usize) -> Result<Taken>) -> Result<Taken> {
    let (first, second) = (run(0)?, run(1)?);
    Ok(if second.seconds < first.seconds { second } else { first })
}

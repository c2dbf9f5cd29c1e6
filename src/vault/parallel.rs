//! The same work on many things, by all cores.

use crate::error::{Error, Result, worse};
use crate::progress::Progress;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, PoisonError, thread};

/// Does `work` with each of many things; the results in the order of the things. The first error ends it.
pub(super) fn each<T: Sync, R: Send>(
    things: &[T],
    progress: &Progress,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(things.len()));
    let take = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(number) else { return Ok(()) };
            let result = progress.check().and_then(|()| work(thing)).inspect_err(|_| {
                // Nobody begins another one.
                next.store(things.len(), Ordering::Relaxed);
            })?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    let outcome = thread::scope(|scope| {
        let workers: Vec<_> = (0..crate::cores().min(things.len())).map(|_| scope.spawn(take)).collect();
        let mut outcome = Ok(());
        for worker in workers {
            outcome = worse(outcome, worker.join().unwrap_or(Err(Error::Poisoned)));
        }
        outcome
    });
    outcome?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

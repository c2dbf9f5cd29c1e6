//! Who waits for the kernel's next request.
//!
//! Of all threads that wait for a request, the kernel wakes the one that has waited longest. With a single program at
//! work, each of its requests so met another thread, gone cold and perhaps on another core: walking a tree took half as
//! much processor time again with four threads as with one or two. So a thread that has answered waits for the kernel
//! only where fewer than [`ENOUGH`] others do. The rest are parked, and called as soon as nobody waits any more.
//!
//! Nobody is parked for longer than [`PARKED_MAX`]: whatever goes wrong here, and however the session ends, costs no more
//! than that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Threads that wait for requests. Two, so that a second program finds somebody without a call.
const ENOUGH: usize = 2;

const PARKED_MAX: Duration = Duration::from_millis(50);

/// The threads that serve a session.
#[derive(Debug)]
pub(super) struct Turns {
    /// Threads that wait for a request, or are about to.
    waiting: AtomicUsize,
    /// Threads that are parked, or are about to be.
    parked: AtomicUsize,
    parking: Mutex<()>,
    call: Condvar,
}

/// A thread's work on a request; it ends when this is dropped, after the reply.
#[must_use]
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// All of so many threads wait.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            waiting: AtomicUsize::new(threads),
            parked: AtomicUsize::new(0),
            parking: Mutex::new(()),
            call: Condvar::new(),
        }
    }

    /// A thread has got a request.
    pub(super) fn begin(&self) -> Turn<'_> {
        // Here a thread writes that it waits no more and then reads who is parked; in `park` it is the other way round.
        // In one order for all, at least one of two threads that meet sees the other.
        let before = self.waiting.fetch_sub(1, Ordering::SeqCst);
        if before <= 1 && self.parked.load(Ordering::SeqCst) > 0 {
            let _guard = self.parking.lock().unwrap_or_else(PoisonError::into_inner);
            self.call.notify_one();
        }
        Turn(self)
    }

    fn park(&self) {
        let guard = self.parking.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) >= ENOUGH {
            drop(self.call.wait_timeout(guard, PARKED_MAX));
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.0.waiting.load(Ordering::SeqCst) >= ENOUGH {
            self.0.park();
        }
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_parked_thread_is_called_when_nobody_waits() {
        let turns = Turns::new(3);
        let (first, met) = (turns.begin(), Barrier::new(2));
        thread::scope(|scope| {
            let parked = scope.spawn(|| {
                met.wait();
                let began = Instant::now();
                drop(first);
                began.elapsed()
            });
            met.wait();
            while turns.parked.load(Ordering::SeqCst) == 0 && !parked.is_finished() {
                thread::yield_now();
            }
            let both = [turns.begin(), turns.begin()];
            // The call came, or else a machine that was very busy let the time run out.
            assert!(parked.join().is_ok());
            assert_eq!(turns.waiting.load(Ordering::SeqCst), 1);
            drop(both);
        });
        assert_eq!(turns.waiting.load(Ordering::SeqCst), 3);
        assert_eq!(turns.parked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn two_threads_are_never_parked() {
        let turns = Turns::new(2);
        let began = Instant::now();
        for _ in 0..1000 {
            drop((turns.begin(), turns.begin()));
        }
        assert!(began.elapsed() < PARKED_MAX * 500);
    }
}

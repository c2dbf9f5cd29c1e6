//! How far a bench is, and the wish to stop it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backup;
use crate::error::{Error, Result};
use crate::progress;

/// Steps of one bench. Any thread may look at any time.
#[derive(Default)]
pub struct Progress {
    steps: AtomicUsize,
    begun: AtomicUsize,
    name: Mutex<String>,
    cancelled: AtomicBool,
    running: Mutex<Option<Running>>,
}

/// A call of the engine that is under way, and hears of the wish to stop by itself.
pub(super) enum Running {
    /// A backup.
    Backup(Arc<backup::Progress>),
    /// A restore or a check.
    Other(Arc<progress::Progress>),
}

impl Running {
    fn cancel(&self) {
        match self {
            Self::Backup(progress) => progress.cancel(),
            Self::Other(progress) => progress.cancel(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Number of steps, once the bench has begun.
    pub fn steps(&self) -> usize {
        self.steps.load(Ordering::Relaxed)
    }

    /// Number of steps that are over.
    pub fn done(&self) -> usize {
        self.begun.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// What is being measured.
    pub fn name(&self) -> String {
        lock(&self.name).clone()
    }

    /// Asks the bench to stop; it ends with [`Error::Interrupted`].
    pub fn cancel(&self) {
        // The flag before the call: one that begins meanwhile looks at the flag after it made itself known.
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(running) = lock(&self.running).as_ref() {
            running.cancel();
        }
    }

    pub(super) fn begin(&self, steps: usize) {
        self.steps.store(steps, Ordering::Relaxed);
    }

    /// Begins a step.
    pub(super) fn step(&self, name: impl Into<String>) -> Result<()> {
        *lock(&self.name) = name.into();
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.check()
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::SeqCst) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Runs a call of the engine that can be cancelled by a progress of its own.
    pub(super) fn during<R>(&self, running: Running, work: impl FnOnce() -> Result<R>) -> Result<R> {
        *lock(&self.running) = Some(running);
        let outcome = self.check().and_then(|()| work());
        *lock(&self.running) = None;
        outcome
    }
}

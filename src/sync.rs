//! Threads, locks, atomics and channels of the engine: the standard library's and crossbeam's or, in a build with
//! `--cfg shuttle`, those of a model checker that decides at each of them who goes on.
//!
//! Whatever the models in `tests/model` reach takes these from here and from nowhere else: a lock that the checker
//! does not know, held while it lets another thread go on, would hang it.

#[cfg(shuttle)]
pub(crate) use modelled::*;
#[cfg(not(shuttle))]
pub(crate) use plain::*;

pub(crate) use std::sync::{Arc, PoisonError};

#[cfg(not(shuttle))]
mod plain {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, RwLock, atomic};
    pub(crate) use std::thread;

    pub(crate) use crossbeam_channel as channel;
}

#[cfg(shuttle)]
mod modelled {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};

    use super::PoisonError;

    /// A value that is made once, by the first who asks.
    pub(crate) struct OnceLock<T> {
        value: std::sync::OnceLock<T>,
        making: Mutex<()>,
    }

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self { value: std::sync::OnceLock::new(), making: Mutex::new(()) }
        }
    }

    impl<T> OnceLock<T> {
        pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
            let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits inside the standard library's: whoever makes the value holds the lock.
            if let Some(value) = self.value.get() {
                return value;
            }
            let made = make();
            self.value.get_or_init(|| made)
        }

        pub(crate) fn take(&mut self) -> Option<T> {
            self.value.take()
        }
    }

    pub(crate) mod thread {
        pub(crate) use shuttle::thread::{Builder, JoinHandle, Scope, spawn};

        /// Scoped threads. The last of them to end wakes whoever opened the scope, whatever that one waits for; so one
        /// more thread lives as long as there is something else to wait for.
        pub(crate) fn scope<'env, R>(work: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R) -> R {
            shuttle::thread::scope(|scope| {
                let (over, wait) = shuttle::sync::mpsc::channel::<()>();
                scope.spawn(move || wait.recv());
                let result = work(scope);
                drop(over);
                result
            })
        }
    }

    /// Bounded channels of several senders and receivers.
    pub(crate) mod channel {
        use std::sync::Arc;

        use shuttle::sync::Mutex;
        use shuttle::sync::mpsc::{self, SyncSender};

        pub(crate) use shuttle::sync::mpsc::TrySendError;
        pub(crate) type Sender<T> = SyncSender<T>;

        pub(crate) struct Receiver<T>(Arc<Mutex<mpsc::Receiver<T>>>);

        pub(crate) fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = mpsc::sync_channel(most);
            (sender, Receiver(Arc::new(Mutex::new(receiver))))
        }

        impl<T> Clone for Receiver<T> {
            fn clone(&self) -> Self {
                Self(Arc::clone(&self.0))
            }
        }

        impl<'a, T> IntoIterator for &'a Receiver<T> {
            type Item = T;
            type IntoIter = Messages<'a, T>;

            fn into_iter(self) -> Messages<'a, T> {
                Messages(self)
            }
        }

        pub(crate) struct Messages<'a, T>(&'a Receiver<T>);

        impl<T> Iterator for Messages<'_, T> {
            type Item = T;

            fn next(&mut self) -> Option<T> {
                self.0.0.lock().ok()?.recv().ok()
            }
        }
    }
}

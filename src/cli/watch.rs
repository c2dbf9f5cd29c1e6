//! Runs work while another thread shows how far it is and passes on the wish to stop.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::signals::Interrupt;

/// How often bars move and signals are looked for.
const TICK: Duration = Duration::from_millis(100);

/// What watches work: bars for people, lines for programs.
pub trait Watcher: Send {
    /// Called every tick, and a last time when the work is over.
    fn tick(&mut self, over: bool);
}

/// A watcher that shows nothing.
pub struct Silent;

impl Watcher for Silent {
    fn tick(&mut self, _over: bool) {}
}

/// Runs `work`; after a signal, `cancel` is called once.
pub fn watched<R>(
    interrupt: &Interrupt,
    mut watcher: Box<dyn Watcher + '_>,
    cancel: impl Fn() + Send,
    work: impl FnOnce() -> R,
) -> R {
    let (over, is_over) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut cancelled = false;
            while is_over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if interrupt.came() && !cancelled {
                    cancelled = true;
                    cancel();
                }
                watcher.tick(false);
            }
            watcher.tick(true);
        });
        let result = work();
        drop(over);
        result
    })
}

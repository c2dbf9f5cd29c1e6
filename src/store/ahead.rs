//! Threads that decode chunks before somebody asks for them.

use super::reader::Chunks;
use crate::format::Hash;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{Receiver, Sender, TrySendError, bounded};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, OnceLock};

/// Chunks that may wait to be decoded. What comes when so many wait is left to whoever asks for it.
const MOST_WAITING: usize = 256;

/// Decodes ahead, on as many threads as there are cores. They begin with the first wish, and are gone when this is.
#[derive(Default)]
pub(super) struct Ahead {
    pool: OnceLock<Pool>,
}

struct Pool {
    wishes: Sender<Hash>,
    /// Whatever still waits is not wanted any more.
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Ahead {
    /// Has a chunk decoded into the cache soon; false where too many wait already. An error in decoding is told to
    /// whoever asks for the chunk, who tries again, and harder.
    pub(super) fn wish(&self, chunks: &Arc<Chunks>, id: &Hash) -> bool {
        let pool = self.pool.get_or_init(|| Pool::start(chunks));
        !matches!(pool.wishes.try_send(*id), Err(TrySendError::Full(_)))
    }
}

impl Pool {
    fn start(chunks: &Arc<Chunks>) -> Self {
        let (wishes, wished) = bounded(MOST_WAITING);
        let over = Arc::new(AtomicBool::new(false));
        let begin = || {
            let (wished, over, chunks) = (wished.clone(), Arc::clone(&over), Arc::clone(chunks));
            let thread = thread::Builder::new().name("icecore-ahead".to_owned());
            thread.spawn(move || decode(&wished, &over, &chunks))
        };
        // Where no thread can be had, nothing is decoded ahead, and all else is as before.
        let threads = (0..crate::cores()).filter_map(|_| begin().ok()).collect();
        Self { wishes, over, threads }
    }
}

fn decode(wished: &Receiver<Hash>, over: &AtomicBool, chunks: &Chunks) {
    for id in wished {
        if over.load(Ordering::Relaxed) {
            return;
        }
        chunks.get_ahead(&id);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(Pool { wishes, over, threads }) = self.pool.take() {
            over.store(true, Ordering::Relaxed);
            // Without a sender, those that wait for wishes end too.
            drop(wishes);
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}

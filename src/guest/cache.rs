//! What was decoded once, kept within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: u64 = 16;

/// A map from number to decoded thing, safe to use from many threads, whose weight never exceeds its bound by more
/// than one thing a shard.
///
/// Each shard has two generations: what is used moves to the young one; when that holds half of the bound, the old
/// one is dropped and the young one takes its place. That is close to least-recently-used, without a list to keep.
pub(super) struct Cache<V> {
    shards: Vec<Mutex<Shard<V>>>,
    half_bytes: u64,
}

struct Shard<V> {
    young: HashMap<u64, Weighed<V>>,
    old: HashMap<u64, Weighed<V>>,
    young_bytes: u64,
}

struct Weighed<V> {
    value: Arc<V>,
    bytes: u64,
}

impl<V> Cache<V> {
    pub fn new(bound_bytes: u64) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 });
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), half_bytes: bound_bytes / SHARDS / 2 }
    }

    pub fn get(&self, key: u64) -> Option<Arc<V>> {
        let mut shard = self.shard(key)?;
        if let Some(found) = shard.young.get(&key) {
            return Some(Arc::clone(&found.value));
        }
        let found = shard.old.remove(&key)?;
        let value = Arc::clone(&found.value);
        shard.insert(key, found, self.half_bytes);
        Some(value)
    }

    /// Keeps a value that weighs about `bytes`, and hands it back shared.
    pub fn insert(&self, key: u64, value: V, bytes: u64) -> Arc<V> {
        let value = Arc::new(value);
        if let Some(mut shard) = self.shard(key) {
            shard.insert(key, Weighed { value: Arc::clone(&value), bytes }, self.half_bytes);
        }
        value
    }

    fn shard(&self, key: u64) -> Option<MutexGuard<'_, Shard<V>>> {
        let shard = self.shards.get(usize::try_from(key % SHARDS).ok()?)?;
        // Whatever panicked elsewhere, a map of finished values is in order.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<V> Shard<V> {
    fn insert(&mut self, key: u64, weighed: Weighed<V>, half_bytes: u64) {
        if self.young_bytes.saturating_add(weighed.bytes) > half_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes = self.young_bytes.saturating_add(weighed.bytes);
        if let Some(previous) = self.young.insert(key, weighed) {
            self.young_bytes = self.young_bytes.saturating_sub(previous.bytes);
        }
    }
}

//! What was decoded once, kept within a bound.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SHARDS: u64 = 16;

/// A map from a number, or several, to a decoded thing, safe to use from many threads, whose weight never exceeds its bound by more
/// than one thing a shard.
///
/// Each shard has two generations: what is used moves to the young one; when that holds half of the bound, the old
/// one is dropped and the young one takes its place. That is close to least-recently-used, without a list to keep.
pub(super) struct Cache<V, K = u64> {
    shards: Vec<Mutex<Shard<V, K>>>,
    /// Chooses the shard: numbers that a guest chose must not all fall into one.
    hasher: RandomState,
    half_bytes: u64,
}

struct Shard<V, K> {
    young: HashMap<K, Weighed<V>>,
    old: HashMap<K, Weighed<V>>,
    young_bytes: u64,
}

struct Weighed<V> {
    value: Arc<V>,
    bytes: u64,
}

impl<V, K: Copy + Eq + Hash> Cache<V, K> {
    pub fn new(bound_bytes: u64) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 });
        let shards = (0..SHARDS).map(|_| shard()).collect();
        Self { shards, hasher: RandomState::new(), half_bytes: bound_bytes / SHARDS / 2 }
    }

    pub fn get(&self, key: K) -> Option<Arc<V>> {
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
    pub fn insert(&self, key: K, value: V, bytes: u64) -> Arc<V> {
        let value = Arc::new(value);
        if let Some(mut shard) = self.shard(key) {
            shard.insert(key, Weighed { value: Arc::clone(&value), bytes }, self.half_bytes);
        }
        value
    }

    fn shard(&self, key: K) -> Option<MutexGuard<'_, Shard<V, K>>> {
        let shard = self.shards.get(usize::try_from(self.hasher.hash_one(key) % SHARDS).ok()?)?;
        // Whatever panicked elsewhere, a map of finished values is in order.
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<V, K: Eq + Hash> Shard<V, K> {
    fn insert(&mut self, key: K, weighed: Weighed<V>, half_bytes: u64) {
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

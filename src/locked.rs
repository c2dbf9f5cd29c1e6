//! Memory for secrets: it does not go to swap or into core dumps as far as the system lets us, and is wiped when given back.
//!
//! Keys lie in pages of their own, which are locked (mlock(2)) and left out of core dumps (madvise(2), `MADV_DONTDUMP`).
//! Where the system refuses, as it may beyond `RLIMIT_MEMLOCK`, they are ordinary memory, wiped all the same. A key does not
//! move, so it leaves no copies where it was; where it is computed, on a stack, there is one for a moment.
//!
//! Invariants:
//! - a place in a page belongs to one [`LockedKey`], or to nobody;
//! - a place that belongs to nobody holds zeros;
//! - pages are kept for the life of the process.

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap_anonymous};
use zeroize::Zeroize;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Memory that is taken from the system at once; a multiple of every page size there is.
const BLOCK_BYTES: usize = 64 << 10;

type Key = [u8; KEY_BYTES];

/// Places that belong to nobody.
static FREE: Mutex<Places> = Mutex::new(Places(Vec::new()));

struct Places(Vec<NonNull<Key>>);

// SAFETY: they point into pages that are never unmapped, and to places that nobody else has.
unsafe impl Send for Places {}

/// A key in locked memory.
pub(crate) struct LockedKey(NonNull<Key>);

// SAFETY: its place belongs to it alone, as a box's does.
unsafe impl Send for LockedKey {}
// SAFETY: shared, it can only be read.
unsafe impl Sync for LockedKey {}

impl LockedKey {
    /// A copy of `bytes`, which are wiped.
    pub(crate) fn take(bytes: &mut Key) -> Self {
        let place = free_place();
        // SAFETY: the place is mapped for reading and writing, aligned as bytes are, and nobody else's.
        unsafe { place.write(*bytes) };
        bytes.zeroize();
        Self(place)
    }

    /// Its bytes.
    pub(crate) fn expose(&self) -> &Key {
        // SAFETY: the place holds a key as long as this lives.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for LockedKey {
    fn clone(&self) -> Self {
        let place = free_place();
        // SAFETY: both places are mapped and belong to different keys.
        unsafe { place.copy_from_nonoverlapping(self.0, 1) };
        Self(place)
    }
}

impl Drop for LockedKey {
    fn drop(&mut self) {
        // SAFETY: the place belongs to this until it is given back below.
        unsafe { self.0.as_mut() }.zeroize();
        FREE.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.0);
    }
}

fn free_place() -> NonNull<Key> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(place) = free.0.pop() {
        return place;
    }
    let mut places = block();
    let place = places.next().expect("a block has places");
    free.0.extend(places);
    place
}

/// A block from the system, as places.
fn block() -> impl Iterator<Item = NonNull<Key>> {
    // SAFETY: new memory at a place that the kernel chooses; nothing that exists is touched.
    let start = unsafe {
        mmap_anonymous(std::ptr::null_mut(), BLOCK_BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    // As the allocator does, whose words these are where there is no memory.
    let start = start.unwrap_or_else(|_| {
        std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; BLOCK_BYTES]>());
    });
    // Either may be refused; see above.
    // SAFETY: all of it was mapped just now.
    let _ = unsafe { mlock(start, BLOCK_BYTES) };
    // SAFETY: the same; what lies there does not change by it.
    let _ = unsafe { madvise(start, BLOCK_BYTES, Advice::LinuxDontDump) };
    let start = NonNull::new(start.cast::<Key>()).expect("a map is nowhere at zero");
    // SAFETY: each lies inside of the block.
    (0..BLOCK_BYTES / KEY_BYTES).map(move |number| unsafe { start.add(number) })
}

#[cfg(test)]
mod tests {
    use super::LockedKey;

    /// The flags that the kernel has for the map that holds an address (proc_pid_smaps(5)).
    fn flags_at(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(start, end)| Some((hex(start)?, hex(end)?))) {
                inside = (start..end).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
                return flags.to_owned();
            }
        }
        panic!("no map at {address:x}");
    }

    #[test]
    fn keys_are_locked_and_in_no_core_dump() {
        let key = LockedKey::take(&mut [7; 32]);
        let flags = flags_at(key.0.addr().get());
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        if limit.is_none_or(|limit| limit >= 1 << 20) {
            assert!(flags.split(' ').any(|flag| flag == "lo"), "{flags}");
        }
    }

    #[test]
    fn a_key_is_moved_in_and_wiped_when_dropped() {
        let mut bytes = [9; 32];
        let key = LockedKey::take(&mut bytes);
        assert_eq!((bytes, *key.expose()), ([0; 32], [9; 32]));
        let copy = key.clone();
        assert_ne!(copy.0, key.0);
        let place = key.0;
        // Others may get the place at once, but not this key's bytes.
        drop(key);
        // SAFETY: the place is mapped for the life of the process.
        assert_ne!(unsafe { place.read_volatile() }, [9; 32]);
        assert_eq!(*copy.expose(), [9; 32]);
    }

    #[test]
    fn many_threads_have_keys_of_their_own() {
        std::thread::scope(|scope| {
            for thread in 0..8_u8 {
                scope.spawn(move || {
                    for round in 0..50 {
                        let keys: Vec<LockedKey> = (0..100).map(|_| LockedKey::take(&mut [thread; 32])).collect();
                        assert!(keys.iter().all(|key| *key.expose() == [thread; 32]), "{thread} {round}");
                    }
                });
            }
        });
    }
}

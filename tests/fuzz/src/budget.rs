//! How much memory one input may take.
//!
//! [`Counting`] is made the allocator of a program. It counts what Rust code holds, not what C code does: zstd's own
//! contexts are of a fixed size, and what they decode into is Rust's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes that one input may have live at a time beyond what was live before. The longest record is 16 MiB; it is held
/// sealed and decoded, and a buffer that grows is there twice.
pub const MOST_BYTES: usize = 64 << 20;

/// No allocation gets past this: a runaway ends as an abort and takes neither the machine's memory nor its evidence.
const MOST_AT_ALL: usize = 1 << 30;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
pub struct Counting;

fn grow(bytes: usize) -> bool {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
    if live > MOST_AT_ALL {
        LIVE.fetch_sub(bytes, Ordering::Relaxed);
        return false;
    }
    PEAK.fetch_max(live, Ordering::Relaxed);
    true
}

fn shrink(bytes: usize) {
    LIVE.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator with the same arguments; a null pointer, which the trait
// allows, stands for what is over the bound.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about `layout`.
        let place = unsafe { System.alloc(layout) };
        if place.is_null() {
            shrink(layout.size());
        }
        place
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grow(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about `layout`.
        let place = unsafe { System.alloc_zeroed(layout) };
        if place.is_null() {
            shrink(layout.size());
        }
        place
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // For a moment the old and the new one may both be there.
        if !grow(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about `place`, `layout` and `size`.
        let new = unsafe { System.realloc(place, layout, size) };
        shrink(if new.is_null() { size } else { layout.size() });
        new
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller's promise about `place` and `layout`.
        unsafe { System.dealloc(place, layout) };
    }
}

/// Does something and tells by how many bytes it exceeded what was live before, at most. Other threads count too.
pub fn peak<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = work();
    (result, PEAK.load(Ordering::Relaxed).saturating_sub(before))
}

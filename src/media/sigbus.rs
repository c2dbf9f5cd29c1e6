//! What becomes of a SIGBUS.
//!
//! A read through a map has no error to return. Where the file was cut short, or the medium does not give a page, the
//! kernel sends SIGBUS to the reading thread, and by default that ends the process: all mounts and backups in it, for one
//! bad sector. So the first map installs a handler. It puts zeros in place of a map that faults and marks it as broken;
//! the reader goes on, sees the mark, and reads again with `pread`, which has errors.
//!
//! A signal handler belongs to the whole process, and a library takes it only for good reason and with manners:
//! - it acts on nothing but faults at an address in one of our own maps, which would else have ended the process;
//! - everything else goes to the handler that was there before, with the same arguments; where there was none, the
//!   process dies of SIGBUS as it would have without us;
//! - it takes no lock, allocates nothing, and calls only what may be called in a handler;
//! - [`ReadMode::Pread`](super::ReadMode::Pread) maps nothing and never installs it.
//!
//! Who installs a handler later must pass on what is not its own, as this one does, or open vaults for `pread`. A thread
//! that blocks SIGBUS dies of such a fault as before; that is the kernel's rule.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Most maps at a time; files beyond are read without one. Each map keeps a file open, and few processes may open more.
const MOST_MAPS: usize = 4096;

static SLOTS: [Slot; MOST_MAPS] = [const { Slot::new() }; MOST_MAPS];
static MAPS: Registry = Registry::over(&SLOTS);

/// What the process did on SIGBUS before us. Never freed: the handler may be reading it.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A map that the handler knows, until this is dropped, which must be before the map is.
pub(super) struct Guard {
    slot: &'static Slot,
    registry: &'static Registry,
}

impl Guard {
    /// Makes a map known. None where there is no room, or no handler.
    pub(super) fn new(map: &[u8]) -> Option<Self> {
        if is_installed() { MAPS.take(map) } else { None }
    }

    /// Whether bytes that were copied out of the map until now may be zeros that the handler put there.
    pub(super) fn is_broken(&self) -> bool {
        // The copy first, then the mark. The handler does it the other way round: it marks, then maps the zeros. So
        // whoever got a zero of any thread's fault sees the mark here.
        fence(Ordering::Acquire);
        self.slot.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.registry.give_back(self.slot);
    }
}

/// One map's place in the registry.
struct Slot {
    /// Odd while the range is being changed, and another number afterwards.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    broken: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Only ever called by the one who has the slot.
    fn set(&self, range: Range<usize>) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// The range, or none where somebody is just changing it: then it is not the map that the asking thread reads.
    fn range(&self) -> Option<Range<usize>> {
        let version = self.version.load(Ordering::Acquire);
        let range = self.start.load(Ordering::Relaxed)..self.end.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        (version.is_multiple_of(2) && version == self.version.load(Ordering::Relaxed)).then_some(range)
    }
}

/// The maps there are. Taking and giving back may wait for a lock; looking for an address never does.
struct Registry {
    slots: &'static [Slot],
    /// Slots that were ever in use: the first so many.
    used: AtomicUsize,
    free: Mutex<Vec<&'static Slot>>,
}

impl Registry {
    const fn over(slots: &'static [Slot]) -> Self {
        Self { slots, used: AtomicUsize::new(0), free: Mutex::new(Vec::new()) }
    }

    fn take(&'static self, map: &[u8]) -> Option<Guard> {
        let slot = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.pop().or_else(|| {
                let used = self.used.load(Ordering::Relaxed);
                let slot = self.slots.get(used)?;
                self.used.store(used + 1, Ordering::Release);
                Some(slot)
            })?
        };
        slot.broken.store(false, Ordering::Relaxed);
        let start = map.as_ptr().expose_provenance();
        slot.set(start..start + map.len());
        Some(Guard { slot, registry: self })
    }

    fn give_back(&self, slot: &'static Slot) {
        slot.set(0..0);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// The map at an address.
    fn find(&self, address: usize) -> Option<(&'static Slot, Range<usize>)> {
        let used = self.slots.get(..self.used.load(Ordering::Acquire))?;
        used.iter().find_map(|slot| slot.range().filter(|range| range.contains(&address)).map(|range| (slot, range)))
    }
}

/// Installs the handler where that was not done yet; false where the system refuses.
fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let remember = |previous: libc::sigaction| PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
        // SAFETY: an all-zero `sigaction` is a valid one, and both calls get pointers to such structures that live
        // through them.
        unsafe {
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) != 0 {
                return false;
            }
            // Before ours is in place: from then on it may be asked for.
            remember(previous);
            // The mask stays, so that the earlier handler runs under the one that it asked for.
            let mut ours = previous;
            ours.sa_sigaction = on_bus_error as *const () as usize;
            ours.sa_flags = (previous.sa_flags & (libc::SA_RESTART | libc::SA_NODEFER))
                | libc::SA_SIGINFO
                // Whoever overflowed the stack has no room on it.
                | libc::SA_ONSTACK;
            if libc::sigaction(libc::SIGBUS, &raw const ours, &raw mut previous) != 0 {
                return false;
            }
            // Somebody else may have been quicker by a moment.
            remember(previous);
        }
        true
    })
}

extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `siginfo_t`; `si_addr` is read as a number only, and
    // believed only for the codes that come with one.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // A page that the file or its medium does not have, or memory that the machine found broken, that this thread is
    // just reading. What somebody sent, or says of other threads' pages, is no such fault.
    let is_read = matches!(code, libc::BUS_ADRERR | libc::BUS_MCEERR_AR);
    if !is_read || !replace(address) {
        pass_on(signal, info, context);
    }
}

/// Puts zeros in place of the map that holds an address; false where there is none.
///
/// The whole map goes, not one page: nobody believes any of it from now on, its readers fault but once, and the kernel
/// keeps one area instead of three.
fn replace(address: usize) -> bool {
    let Some((slot, range)) = MAPS.find(address) else {
        return false;
    };
    slot.broken.store(true, Ordering::SeqCst);
    let start = ptr::with_exposed_provenance_mut(range.start);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the range is a map of ours, and stays one: the thread that was interrupted reads it, and a map outlives
    // its readers. Replacing it takes no memory away from anybody, and it is unmapped by its owner as it would have been.
    // The interrupted code finds its errno as it was.
    unsafe {
        let errno = *libc::__errno_location();
        let zeros = libc::mmap(start, range.len(), libc::PROT_READ, flags, -1, 0);
        *libc::__errno_location() = errno;
        zeros != libc::MAP_FAILED
    }
}

/// Does what the process did on SIGBUS before us.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what was remembered is never freed and never null once this handler is in place; its handler is called
    // the way that its flags say, with the arguments that the kernel gave. `sigaction` and `raise` may be called here.
    unsafe {
        let code = (*info).si_code;
        // A fault that nobody mends comes again at once; a signal that was sent does not.
        let is_fault = code > 0 && code != libc::BUS_MCEERR_AO;
        let previous = &*PREVIOUS.load(Ordering::Acquire);
        match previous.sa_sigaction {
            libc::SIG_IGN if !is_fault => {}
            // The kernel lets nobody ignore a fault.
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const default, ptr::null_mut());
                if !is_fault {
                    libc::raise(signal);
                }
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ordering, Registry, Slot};

    #[test]
    fn a_full_registry_refuses_and_takes_again_what_was_given_back() {
        static SLOTS: [Slot; 2] = [const { Slot::new() }; 2];
        static MAPS: Registry = Registry::over(&SLOTS);
        let (a, b, c) = ([0_u8; 100], [0_u8; 50], [0_u8; 10]);
        let holds = |map: &[u8]| {
            let at = |index: usize| MAPS.find(map.as_ptr().addr() + index).map(|(_, range)| range.len());
            assert_eq!(at(0), at(map.len() - 1), "the first and the last byte");
            at(0)
        };
        assert_eq!(holds(&a), None);
        let first = MAPS.take(&a).expect("room");
        let second = MAPS.take(&b).expect("room");
        assert!(MAPS.take(&c).is_none(), "no room");
        assert_eq!((holds(&a), holds(&b), holds(&c)), (Some(100), Some(50), None));
        first.slot.broken.store(true, Ordering::Relaxed);
        assert!(first.is_broken() && !second.is_broken());
        drop(first);
        assert_eq!((holds(&a), holds(&b)), (None, Some(50)));
        let third = MAPS.take(&c).expect("room again");
        assert!(!third.is_broken(), "the mark is the map's, not the slot's");
        assert_eq!((holds(&b), holds(&c)), (Some(50), Some(10)));
    }

    #[test]
    fn a_range_that_is_being_changed_is_never_seen_in_parts() {
        static SLOT: Slot = Slot::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (1..200_000).for_each(|number| SLOT.set(number * 1000..number * 1000 + number)));
            let mut last = 0;
            while last < 199_999 {
                if let Some(range) = SLOT.range() {
                    assert_eq!(range.start, range.len() * 1000, "two ranges mixed");
                    last = range.len();
                }
            }
        });
        SLOT.version.fetch_add(1, Ordering::Relaxed);
        assert_eq!(SLOT.range(), None, "in the middle of a change");
    }
}

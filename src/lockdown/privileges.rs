//! Privileges of the process as a whole: capabilities, what an `exec` could bring, limits, being looked into.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// The largest file that it can write: an index of some 300 million records outside the vault. What would become larger
/// stays in memory, as where nothing can be written at all.
const MOST_FILE_BYTES: u64 = 16 << 30;

/// What reading a vault may take, where it is held. Whose files a vault holds, what directories lead to it, and where links
/// in it lead, can change at any time, and root is used to reading them all; which files those are, Landlock says.
const NEEDED: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// Gives up every capability but the one that is needed.
pub(super) fn give_up() -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, MOST_FILE_BYTES)?;
    // Whatever it was started with it has at most; the number of processes needs no limit, as it can't start any.
    limit(Resource::Nofile, u64::MAX)?;
    ignore_size_signal();

    let now = capabilities(None)?;
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter().filter(|capability| !NEEDED.contains(*capability)) {
            match remove_capability_from_bounding_set(capability) {
                // The kernel is older than the capability.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    clear_ambient_capability_set()?;
    let kept = now.effective & NEEDED;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
}

/// Sets both limits to at most `most`, and the hard one to the soft.
fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    let now = getrlimit(resource);
    let least = Some(now.current.unwrap_or(u64::MAX).min(most)).filter(|limit| *limit < u64::MAX);
    setrlimit(resource, Rlimit { current: least, maximum: least })
}

/// Writing too large a file is then an error of that write, not the end of the process.
fn ignore_size_signal() {
    // SAFETY: sets no handler, so there is no code that could run at a bad moment; the result, the old disposition, is
    // nobody's.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

//! Privileges of the process as a whole: capabilities, what an `exec` could bring, limits, being looked into.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use crate::vault::FOLDERS;

/// The largest file that it can write: an index of some 300 million records outside the vault. What would become larger
/// stays in memory, as where nothing can be written at all.
const MOST_FILE_BYTES: u64 = 16 << 30;

/// Capabilities that reading this vault takes. Root reads its own files without any; those of others only with
/// `CAP_DAC_READ_SEARCH`, and others' files may come wherever others may write.
pub(super) fn needed(vault: &Path) -> CapabilitySet {
    let user = rustix::process::geteuid().as_raw();
    let is_ours = |path: &Path| path.metadata().is_ok_and(|found| found.uid() == user && found.mode() & 0o022 == 0);
    if is_ours(vault) && FOLDERS.iter().all(|folder| is_ours(&vault.join(folder))) {
        CapabilitySet::empty()
    } else {
        CapabilitySet::DAC_READ_SEARCH
    }
}

/// Gives up every capability but `needed`.
pub(super) fn give_up(needed: CapabilitySet) -> rustix::io::Result<()> {
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, MOST_FILE_BYTES)?;
    // Whatever it was started with it has at most; the number of processes needs no limit, as it can't start any.
    limit(Resource::Nofile, u64::MAX)?;
    ignore_size_signal();

    let now = capabilities(None)?;
    if now.permitted.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter().filter(|capability| !needed.contains(*capability)) {
            match remove_capability_from_bounding_set(capability) {
                // The kernel is older than the capability.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error),
            }
        }
    }
    clear_ambient_capability_set()?;
    let kept = now.effective & needed;
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

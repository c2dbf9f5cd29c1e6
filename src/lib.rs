//! Recovery points of virtual machine disks, kept in an encrypted, deduplicated vault and readable file by file.

pub mod backup;
pub mod bench;
pub mod error;
pub mod format;
pub mod guest;
#[cfg(feature = "mount")]
pub mod lockdown;
mod locked;
pub mod media;
pub mod meter;
pub mod point;
pub mod policy;
pub mod progress;
pub mod quiesce;
pub mod restore;
pub mod seal;
pub mod source;
pub mod store;
mod sync;
pub mod tree;
pub mod vault;

pub use error::{Error, ErrorKind, Result};
pub use vault::Vault;

/// Processor cores that this process may use. Of a model checker's schedule nothing may depend on the machine.
///
/// Asked once: a quota is read from files that a process that locked itself down can't open any more.
pub(crate) fn cores() -> usize {
    static CORES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    if cfg!(shuttle) {
        return 2;
    }
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
}

//! What a caller may choose about a mount.

use std::num::NonZeroUsize;
use std::thread;

/// Choices for [`mount`](crate::mount); start from [`MountOptions::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Threads that serve requests: so many tree calls run at once. Each costs a little memory and, where the tree is
    /// busy on every core, nothing is won by more of them than twice the cores.
    pub threads: NonZeroUsize,
    /// Whether users other than the mounting one may look. File permissions then count, checked by the kernel;
    /// otherwise the mounting user may read everything. For an ordinary user, `/etc/fuse.conf` must permit it.
    pub allow_other: bool,
    /// Whether the mount point may hold files, which the mount hides while it lasts.
    pub allow_non_empty: bool,
    /// Files of at least so many bytes are read past the kernel's page cache, where the kernel can map such files into
    /// memory all the same (Linux 6.6 and later); `None` for no file. A large file is mostly read once, front to back:
    /// filling pages that nobody asks for again costs more than the read itself.
    pub direct_io_bytes: Option<u64>,
    /// Whether set-user-id and set-group-id bits, file capabilities and device nodes show as they are; otherwise through
    /// [`Harmless`](crate::Harmless). They have no effect in the mount either way, but would in a copy that root makes.
    pub keep_modes: bool,
    /// What `mount` and `df` show as the source.
    pub fs_name: String,
    /// The type is shown as `fuse.` and this.
    pub subtype: String,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            threads: default_threads(),
            allow_other: false,
            allow_non_empty: false,
            keep_modes: false,
            direct_io_bytes: Some(DIRECT_IO_BYTES),
            fs_name: "icecore".to_owned(),
            subtype: "icecore".to_owned(),
        }
    }
}

/// Smaller files are left to the page cache: they are read again and again, and by many small reads.
const DIRECT_IO_BYTES: u64 = 1 << 20;

/// Two threads per core, as tree calls may wait for a medium; four at least, so that four slow readers do not queue.
fn default_threads() -> NonZeroUsize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new((cores * 2).clamp(4, 16)).unwrap_or(NonZeroUsize::MIN)
}

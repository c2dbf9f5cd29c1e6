//! What is agreed with the kernel when a session begins.

use std::fs;

use fuser::{InitFlags, KernelConfig};

use super::mount_point::MountPoint;

/// The largest read. The kernel derives it from the largest write and caps it at 256 pages by default
/// (`fs.fuse.max_pages_limit`).
const MAX_READ_BYTES: u32 = 1 << 20;

/// How far the kernel reads ahead of a sequential reader.
const READAHEAD_BYTES: u32 = 1 << 20;

/// Requests that the kernel may have under way for readahead before it holds back.
const MAX_BACKGROUND: u16 = 64;

/// Which requests the kernel can be taught not to send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreed {
    /// `open` need not be answered: see `open` in the file system.
    pub(super) no_open: bool,
    /// Nor need `opendir`.
    pub(super) no_opendir: bool,
    /// Files of at least so many bytes are read past the page cache.
    pub(super) direct_io_bytes: Option<u64>,
}

pub(super) fn agree(config: &mut KernelConfig, direct_io_bytes: Option<u64>) -> Agreed {
    let wanted = [
        // A listing brings attributes along, always: whoever lists mostly looks at each entry too (`find`, `cp -a`, `ls`),
        // which costs a request each where the kernel only guesses so (`FUSE_READDIRPLUS_AUTO`) and guesses wrong.
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_PARALLEL_DIROPS,
        // Large direct reads go out in pieces at once, not one after the other.
        InitFlags::FUSE_ASYNC_DIO,
        // Links are read once. A mutable one gets a new generation with each target: see `generation`.
        InitFlags::FUSE_CACHE_SYMLINKS,
        // A mutable file that got another size or time of change loses its cached pages, `open` or not.
        InitFlags::FUSE_AUTO_INVAL_DATA,
        InitFlags::FUSE_NO_OPEN_SUPPORT,
        InitFlags::FUSE_NO_OPENDIR_SUPPORT,
        // A file that is read past the page cache can be mapped into memory as any other.
        InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    ];
    for flag in wanted {
        // A kernel that lacks one does without.
        let _ = config.add_capabilities(flag);
    }
    let _ = config.set_max_write(MAX_READ_BYTES);
    let _ = config.set_max_background(MAX_BACKGROUND);
    let _ = config.set_congestion_threshold(MAX_BACKGROUND * 3 / 4);
    let offers = config.capabilities();
    let direct_io_bytes = direct_io_bytes.filter(|_| offers.contains(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP));
    Agreed {
        // Only the answer to `open` can say that a file is to be read past the page cache.
        no_open: direct_io_bytes.is_none() && offers.contains(InitFlags::FUSE_NO_OPEN_SUPPORT),
        // The kernel then caches every listing, and only with the other flag looks whether a mutable one is old.
        no_opendir: offers.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT | InitFlags::FUSE_AUTO_INVAL_DATA),
        direct_io_bytes,
    }
}

/// The kernel reads 128 KiB ahead whatever a FUSE server answers; only the setting in sysfs can raise that, and only
/// root may. Without it buffered readers are slower, and all else is the same.
pub(super) fn raise_readahead(mount_point: &MountPoint) {
    if let Some((major, minor)) = mount_point.device() {
        let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        let _ = fs::write(setting, (READAHEAD_BYTES / 1024).to_string());
    }
}

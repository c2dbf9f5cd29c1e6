//! Feature bits of the superblock ("XFS Filesystem Structure", "Superblocks").

use crate::guest::Feature;

/// `sb_versionnum`: its low four bits are the version.
pub(super) mod version {
    pub const NUMBER: u16 = 0xF;
    pub const LOG_V2: u16 = 0x400;
    pub const DIRECTORY_V2: u16 = 0x2000;
    pub const IGNORE_CASE: u16 = 0x4000;
    pub const MORE_BITS: u16 = 0x8000;
}

/// `sb_features2`, valid with [`version::MORE_BITS`].
pub(super) mod features2 {
    pub const LAZY_COUNTERS: u32 = 0x2;
    pub const FTYPE: u32 = 0x200;
}

/// `sb_features_incompat`: a reader that does not know one of these must refuse the file system.
pub(super) mod incompat {
    pub const FTYPE: u32 = 0x1;
    pub const SPARSE_INODES: u32 = 0x2;
    pub const META_UUID: u32 = 0x4;
    pub const BIG_TIME: u32 = 0x8;
    pub const NEEDS_REPAIR: u32 = 0x10;
    pub const NREXT64: u32 = 0x20;
    pub const EXCHANGE_RANGE: u32 = 0x40;
    pub const PARENT: u32 = 0x80;
    pub const METADIR: u32 = 0x100;
    pub const ZONED: u32 = 0x200;
    pub const ZONE_GAPS: u32 = 0x400;

    /// What this reader understands.
    pub const KNOWN: u32 =
        FTYPE | SPARSE_INODES | META_UUID | BIG_TIME | NEEDS_REPAIR | NREXT64 | EXCHANGE_RANGE | PARENT;
}

/// `sb_features_log_incompat`: who does not know one of these can read the file system, but not replay its log.
pub(super) mod log_incompat {
    /// Extended attributes are logged as intents.
    pub const XATTRS: u32 = 0x1;
    pub const KNOWN: u32 = XATTRS;
}

/// The first feature that this reader must refuse, if any.
pub(super) fn refused(incompat: u32) -> Option<Feature> {
    let named = [(incompat::METADIR, "metadir"), (incompat::ZONED, "zoned"), (incompat::ZONE_GAPS, "zone gaps")];
    match incompat & !incompat::KNOWN {
        0 => None,
        bits => Some(
            named
                .iter()
                .find(|(bit, _)| bits & bit != 0)
                .map_or(Feature::XfsIncompatBits(bits), |(_, name)| Feature::Xfs(name)),
        ),
    }
}

//! Feature bits of the superblock (kernel documentation, ext4, "The Super Block").

use crate::guest::Feature;

/// `s_feature_incompat`: a reader that does not know one of these must refuse the file system.
pub(super) mod incompat {
    pub const COMPRESSION: u32 = 0x1;
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const JOURNAL_DEV: u32 = 0x8;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const BITS_64: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const DIRDATA: u32 = 0x1000;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGEDIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
    pub const ENCRYPT: u32 = 0x1_0000;
    pub const CASEFOLD: u32 = 0x2_0000;

    /// What this reader understands.
    pub const KNOWN: u32 = FILETYPE
        | RECOVER
        | META_BG
        | EXTENTS
        | BITS_64
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGEDIR
        | INLINE_DATA
        | ENCRYPT
        | CASEFOLD;

    /// What ext3 may have; more makes it ext4.
    pub const EXT3: u32 = FILETYPE | RECOVER | META_BG;
}

/// `s_feature_ro_compat`: a reader may ignore those that it does not know.
pub(super) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const BTREE_DIR: u32 = 0x4;
    pub const HUGE_FILE: u32 = 0x8;
    pub const GDT_CSUM: u32 = 0x10;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;

    /// What ext3 may have; more makes it ext4.
    pub const EXT3: u32 = SPARSE_SUPER | LARGE_FILE | BTREE_DIR;
}

/// `s_feature_compat`: of no consequence to a reader, but for what they say of the journal.
pub(super) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const DIR_INDEX: u32 = 0x20;
    pub const SPARSE_SUPER2: u32 = 0x200;
}

/// The first feature that this reader must refuse, if any.
pub(super) fn refused(incompat: u32) -> Option<Feature> {
    let named = [
        (incompat::COMPRESSION, "compression"),
        (incompat::DIRDATA, "dirdata"),
        (incompat::JOURNAL_DEV, "journal_dev"),
    ];
    match incompat & !incompat::KNOWN {
        0 => None,
        bits => Some(
            named
                .iter()
                .find(|(bit, _)| bits & bit != 0)
                .map_or(Feature::ExtIncompatBits(bits), |(_, name)| Feature::Ext(name)),
        ),
    }
}

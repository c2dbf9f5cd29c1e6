//! Where lost bytes may come from: copies of the vault, and the disks that were backed up. They are only read.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::segments_of;
use crate::error::{Error, Result};
use crate::format::Id;
use crate::format::catalog_entry;
use crate::format::header::{self, Header};
use crate::format::key_slot;
use crate::format::parity;
use crate::format::segment;
use crate::media::{DirectoryMedia, Media, Object, ReadMode, ReadOnlyMedia};
use crate::seal::VaultKeys;
use crate::source::Source;
use crate::store::parity::Corrected;
use crate::store::{Origin, Store, open_segment};
use crate::vault::unlock;

/// Where lost bytes may come from.
#[derive(Default)]
pub struct RepairSources {
    pub(super) copies: Vec<Arc<dyn Media>>,
    pub(super) disks: Vec<Original>,
    pub(super) adopt: bool,
    pub(super) gone: bool,
}

/// A disk that was backed up, as it is now.
pub(super) struct Original {
    /// The machine, or any.
    pub machine: Option<String>,
    /// Its name in the points.
    pub name: String,
    pub source: Box<dyn Source>,
}

impl RepairSources {
    /// Adds a copy of the vault in a directory.
    #[must_use]
    pub fn copy(self, path: &Path) -> Self {
        self.copy_on(Arc::new(DirectoryMedia::new(path, ReadMode::Pread)))
    }

    /// Adds a copy of the vault on any media.
    #[must_use]
    pub fn copy_on(mut self, media: Arc<dyn Media>) -> Self {
        self.copies.push(Arc::new(ReadOnlyMedia(media)));
        self
    }

    /// Adds a disk that was backed up under a name, of one machine or of whichever has such a disk. It may have changed
    /// since, in size too: what still fits is taken.
    #[must_use]
    pub fn disk(mut self, machine: Option<&str>, name: &str, source: impl Source + 'static) -> Self {
        let (machine, name) = (machine.map(str::to_owned), name.to_owned());
        self.disks.push(Original { machine, name, source: Box::new(source) });
        self
    }

    /// Enters points into the catalog that are whole in the segments and have no entry. It takes a person to decide that:
    /// a backup that was interrupted at its end leaves such a point too.
    #[must_use]
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Without a key: brings back segments, and newest entries of chains, that only a copy has. Nobody without a key can tell
    /// what was lost from what was removed because nothing needed it, or from what the copy made up.
    #[must_use]
    pub fn gone(mut self) -> Self {
        self.gone = true;
        self
    }
}

/// What may hold the bytes of a segment, whole or in part, under the segment's name.
pub(super) trait Spare: Send + Sync {
    /// Whose bytes they are.
    fn origin(&self) -> Origin;

    /// The segment, as far as it is there.
    fn segment(&self, id: &Id) -> Option<Arc<dyn Object>>;

    /// The segments that it may have something of.
    fn list(&self) -> Result<HashSet<Id>>;
}

/// The vault's own parity: it has the segment with what is damaged computed, as far as parity reaches.
pub(super) struct OwnParity<'a> {
    pub media: &'a dyn Media,
    pub vault: &'a Id,
}

impl Spare for OwnParity<'_> {
    fn origin(&self) -> Origin {
        Origin::Parity
    }

    fn segment(&self, id: &Id) -> Option<Arc<dyn Object>> {
        let corrected = Corrected::open(self.media, Some(self.vault), id).ok()?;
        Some(Arc::new(corrected))
    }

    /// Parity alone makes a segment that is gone where that is short.
    fn list(&self) -> Result<HashSet<Id>> {
        Ok(self.media.list(parity::FOLDER)?.iter().filter_map(|name| parity::id_of(name)).collect())
    }
}

/// The parity of a copy: it has the copy's segments with what is damaged there computed.
pub(super) struct ParityOfCopy<'a> {
    pub copy: &'a CopyOfVault,
    pub vault: &'a Id,
}

impl Spare for ParityOfCopy<'_> {
    fn origin(&self) -> Origin {
        Origin::Copy
    }

    fn segment(&self, id: &Id) -> Option<Arc<dyn Object>> {
        let corrected = Corrected::open(self.copy.media.as_ref(), Some(self.vault), id).ok()?;
        Some(Arc::new(corrected))
    }

    /// As the copy itself tells.
    fn list(&self) -> Result<HashSet<Id>> {
        Ok(HashSet::new())
    }
}

/// A copy of the vault that was found to be one.
pub(super) struct CopyOfVault {
    pub media: Arc<dyn Media>,
}

impl Spare for &CopyOfVault {
    fn origin(&self) -> Origin {
        Origin::Copy
    }

    fn segment(&self, id: &Id) -> Option<Arc<dyn Object>> {
        open_segment(self.media.as_ref(), id).ok()
    }

    fn list(&self) -> Result<HashSet<Id>> {
        segments_of(self.media.as_ref())
    }
}

impl CopyOfVault {
    /// Fails where this is the vault itself, another vault, or none. `vault` is the id of the vault to be repaired.
    pub fn new(media: Arc<dyn Media>, of: &dyn Media, vault: &Id) -> Result<Self> {
        let place = media.location();
        let invalid = |rule| {
            let value = place.display().to_string();
            Err(Error::Invalid { what: "copy of the vault", value, rule })
        };
        if is_same_place(place, of.location()) {
            return invalid("it is the vault itself, not a copy of it");
        }
        refuse_nothing(media.as_ref())?;
        // Where nothing tells, each of its objects still does.
        if unlock::id_of(media.as_ref())?.is_some_and(|id| id != *vault) {
            return invalid("it is another vault, or a copy of another one");
        }
        Ok(Self { media })
    }

    /// Its records; nothing where they can't be opened.
    pub fn store(&self, keys: &Arc<VaultKeys>, header: &Header) -> Option<Store> {
        Store::open(Arc::clone(&self.media), Arc::clone(keys), header.clone()).ok()
    }
}

/// Fails where there is nothing of a vault.
pub(super) fn refuse_nothing(media: &dyn Media) -> Result<()> {
    let has_any = media.exists(header::OBJECT)?
        || media.exists(header::COPY)?
        || !media.list(key_slot::FOLDER)?.is_empty()
        || !media.list(segment::FOLDER)?.is_empty()
        || !media.list_folders(catalog_entry::FOLDER)?.is_empty();
    if has_any { Ok(()) } else { Err(Error::NoVault { path: media.location().to_path_buf() }) }
}

/// Whether two paths lead to one directory.
pub(in crate::vault) fn is_same_place(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    one == other || identity(one).is_some_and(|found| identity(other) == Some(found))
}

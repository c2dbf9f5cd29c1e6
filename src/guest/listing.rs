//! A directory, decoded.

use icecore_fuse::FileType;

use super::Damage;
use super::bytes::{slice_at, wide};

/// An entry as it stands in a directory: `.`, `..` and ciphertext names included.
pub(super) struct Raw<'a> {
    pub name: &'a [u8],
    pub node: u64,
    /// `None` where the file system does not record kinds in directories.
    pub kind: Option<FileType>,
    /// Where it begins in the directory, in bytes.
    pub at: u64,
    /// Where the next one begins.
    pub next: u64,
}

/// All entries of one directory in their order, and an index by name.
#[derive(Default)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// Places in `entries`, sorted by name.
    by_name: Vec<u32>,
    damage: Option<Damage>,
}

struct Entry {
    name_at: u32,
    name_length: u8,
    kind: Option<FileType>,
    node: u64,
    at: u32,
    next: u32,
}

impl Listing {
    /// Adds an entry. Kept directories are far below the 4 GiB that the fields could count.
    pub fn push(&mut self, raw: &Raw<'_>) {
        let fields = (
            u32::try_from(self.names.len()),
            u8::try_from(raw.name.len()),
            u32::try_from(raw.at),
            u32::try_from(raw.next),
        );
        if let (Ok(name_at), Ok(name_length), Ok(at), Ok(next)) = fields {
            self.names.extend_from_slice(raw.name);
            self.entries.push(Entry { name_at, name_length, kind: raw.kind, node: raw.node, at, next });
        }
    }

    /// Sorts the index; of entries with the same name, the first one counts.
    pub fn finish(&mut self, damage: Option<Damage>) {
        let mut by_name: Vec<u32> = (0..).take(self.entries.len()).collect();
        by_name.sort_by(|a, b| self.name_of(*a).cmp(self.name_of(*b)));
        self.by_name = by_name;
        self.damage = damage;
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub fn weight_bytes(&self) -> u64 {
        wide(self.names.len() + self.entries.len() * (size_of::<Entry>() + 4) + size_of::<Self>())
    }

    /// What keeps it from being complete, if anything.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    pub fn find(&self, name: &[u8]) -> Option<u64> {
        let place = self.by_name.partition_point(|place| self.name_of(*place) < name);
        let place = *self.by_name.get(place)?;
        let entry = self.entry(place)?;
        (self.name(entry) == name).then_some(entry.node)
    }

    /// The entries that begin at or behind a byte of the directory.
    pub fn entries_from(&self, at: u64) -> impl Iterator<Item = Raw<'_>> {
        let first = self.entries.partition_point(|entry| u64::from(entry.at) < at);
        self.entries.iter().skip(first).map(|entry| Raw {
            name: self.name(entry),
            node: entry.node,
            kind: entry.kind,
            at: entry.at.into(),
            next: entry.next.into(),
        })
    }

    fn entry(&self, place: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(place).ok()?)
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        let at = usize::try_from(entry.name_at).unwrap_or(usize::MAX);
        slice_at(&self.names, at, entry.name_length.into()).unwrap_or_default()
    }

    fn name_of(&self, place: u32) -> &[u8] {
        self.entry(place).map(|entry| self.name(entry)).unwrap_or_default()
    }
}

//! From a password or key file to a vault's header and keys, whatever of headers and slots is still there.

use std::collections::BTreeSet;

use super::{keys, read_header};
use crate::error::{Error, Result};
use crate::format::Id;
use crate::format::header::{self, Header};
use crate::format::segment::{self, HEADER_BYTES, SegmentHeader};
use crate::media::Media;
use crate::seal::{Credential, SlotInfo, VaultKeys, open_any};
use crate::sync::Arc;
use crate::vault::InitOptions;

/// What opens a vault.
#[derive(Clone)]
pub(super) struct Unlocked {
    pub header: Header,
    pub keys: Arc<VaultKeys>,
    pub slot: SlotInfo,
}

/// Segments whose headers are asked for the vault's id, where nothing else tells it.
const MOST_ASKED: usize = 64;

/// Opens a vault's keys. Where its own slots and headers don't suffice, those of `copies` that are of this vault do. With
/// `salvage`, a header that is nowhere is made of what the slot says.
pub(super) fn unlock(
    media: &dyn Media,
    copies: &[&dyn Media],
    credential: &Credential,
    salvage: bool,
) -> Result<Unlocked> {
    let error = match open_one(media, &[], credential) {
        Ok(unlocked) => return Ok(unlocked),
        Err(error) => error,
    };
    if let Some(vault) = id_of(media)? {
        for copy in copies {
            if id_of(*copy).ok().flatten() == Some(vault)
                && let Ok(unlocked) = open_one(media, &[*copy], credential)
                && *unlocked.keys.vault() == vault
            {
                return Ok(unlocked);
            }
        }
    }
    if salvage && matches!(error, Error::Damaged(_) | Error::UnsupportedVersion { .. } | Error::Vault { .. }) {
        return by_slot_alone(media, copies, credential).map_err(|failed| match failed {
            Error::WrongKey { .. } => failed,
            _ => error,
        });
    }
    Err(error)
}

/// Opens by the headers and slots of a vault and of copies of it.
fn open_one(media: &dyn Media, copies: &[&dyn Media], credential: &Credential) -> Result<Unlocked> {
    let (mut slots, damaged) = keys::read_slots(media)?;
    for copy in copies {
        slots.extend(keys::read_slots(*copy)?.0);
    }
    let mut damaged = damaged.into_iter();
    let mut open_by = |media: &dyn Media, name| {
        let decoded = read_header(media, name)?;
        let vault = decoded.header.vault;
        let (slot, role_keys) = match open_any(&slots, &vault, credential) {
            // A damaged slot may be the one that would have opened: that is no wrong password.
            Err(wrong @ Error::WrongKey { .. }) => return Err(damaged.next().unwrap_or(wrong)),
            opened => opened?,
        };
        let keys = VaultKeys::new(vault, slot.role, role_keys);
        keys.check_header(name, &decoded)?;
        Ok(Unlocked { header: decoded.header, keys: Arc::new(keys), slot })
    };
    let mut first = match open_by(media, header::OBJECT) {
        // The copy decides only where the header itself is damaged, unreadable, or another vault's; the error is then
        // the header's.
        Err(error @ (Error::Damaged(_) | Error::UnsupportedVersion { .. } | Error::Vault { .. })) => error,
        opened => return opened,
    };
    if let Ok(unlocked) = open_by(media, header::COPY) {
        return Ok(unlocked);
    }
    for (copy, name) in copies.iter().flat_map(|copy| [(*copy, header::OBJECT), (*copy, header::COPY)]) {
        match open_by(copy, name) {
            Ok(unlocked) => return Ok(unlocked),
            Err(error @ Error::WrongKey { .. }) => first = error,
            Err(_) => {}
        }
    }
    Err(first)
}

/// Opens by a slot alone: it holds the vault's id and all keys. What else the header says is only needed to write, but for
/// the size of chunks, which each point's manifest says too.
fn by_slot_alone(media: &dyn Media, copies: &[&dyn Media], credential: &Credential) -> Result<Unlocked> {
    let mut slots = keys::read_slots(media)?.0;
    let ids: BTreeSet<Id> = slots.iter().map(|(_, slot)| slot.vault).chain(id_of(media)?).collect();
    for copy in copies {
        slots.extend(keys::read_slots(*copy)?.0);
    }
    slots.retain(|(_, slot)| ids.contains(&slot.vault));
    let mut failed = Error::WrongKey { slots: slots.len() };
    for vault in ids {
        match open_any(&slots, &vault, credential) {
            Ok((slot, role_keys)) => {
                let header = guessed(vault, &slot, role_keys.public());
                return Ok(Unlocked { header, keys: Arc::new(VaultKeys::new(vault, slot.role, role_keys)), slot });
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The header of a vault that lost it, as far as a slot tells it; the rest as `init` would have it.
fn guessed(vault: Id, slot: &SlotInfo, public: [u8; 32]) -> Header {
    let options = InitOptions::default();
    Header {
        vault,
        created_unix_seconds: slot.created_unix_seconds,
        chunk_size_log2: options.chunk_size_log2().expect("the default is one of the sizes"),
        level: options.level,
        segment_bytes: options.segment_bytes,
        public,
    }
}

/// The id of the vault that is there, by what is left of it, without a key: a header that slots agree with, else a
/// header, else the slots, else the segments' headers, of each the id that most say.
pub(super) fn id_of(media: &dyn Media) -> Result<Option<Id>> {
    let headers = [header::OBJECT, header::COPY].map(|name| read_header(media, name));
    let headers: Vec<Id> = headers.into_iter().flatten().map(|decoded| decoded.header.vault).collect();
    let slots: Vec<Id> = keys::read_slots(media)?.0.iter().map(|(_, slot)| slot.vault).collect();
    if let Some(agreed) = headers.iter().find(|id| slots.contains(id)).or(headers.first()) {
        return Ok(Some(*agreed));
    }
    if let Some(id) = most_named(&slots) {
        return Ok(Some(id));
    }
    let mut told = Vec::new();
    for id in media.list(segment::FOLDER)?.iter().filter_map(|name| segment::id_of(name)).take(MOST_ASKED) {
        let mut bytes = [0; HEADER_BYTES];
        let read = media.open(&segment::object(&id)).and_then(|object| object.read_exact_at(0, &mut bytes));
        if let (Ok(()), Ok((header, _))) = (read, SegmentHeader::decode(&bytes)) {
            told.push(header.vault);
        }
    }
    Ok(most_named(&told))
}

fn most_named(ids: &[Id]) -> Option<Id> {
    ids.iter().max_by_key(|id| ids.iter().filter(|other| other == id).count()).copied()
}

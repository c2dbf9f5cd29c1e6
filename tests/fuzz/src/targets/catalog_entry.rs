//! An entry of the catalog: the stored form, and what is behind its seal.

use icecore::format::catalog_entry::{Entry, MOST_NAME_BYTES, PREFIX, Prefix, object, sequence_of, split};
use icecore::format::with_hash;

use super::{fix_checksum, take_u8, take_u64};
use crate::keys::{self, VAULT, vault_keys};

/// First byte 0: a stored entry. Else: the sequence number, then a payload that is sealed for the machine that it names.
pub fn run(mut data: &[u8]) -> bool {
    if take_u8(&mut data) == 0 {
        stored(data);
        let mut fixed = data.to_vec();
        if let Some(at) = fixed.len().checked_sub(32).filter(|at| *at >= PREFIX) {
            fix_checksum(&mut fixed, at, 32);
        }
        return stored(&fixed);
    }
    let sequence = take_u64(&mut data);
    sealed(sequence, data)
}

fn stored(bytes: &[u8]) -> bool {
    let Ok((prefix, bound, payload)) = split(bytes) else { return false };
    let length = u32::try_from(payload.len()).expect("short");
    assert_eq!(prefix.encode(length).as_slice(), bound, "the clear part has one stored form");
    let again = with_hash([bound.as_slice(), payload].concat());
    assert_eq!(again, bytes, "and so has the whole");
    let _ = vault_keys().open_entry(&prefix.chain, prefix.sequence, bytes);
    true
}

fn sealed(sequence: u64, payload: &[u8]) -> bool {
    let (decoded, signature) = Entry::decode(payload).ok().unzip();
    let signature = signature.flatten();
    // Longer names are refused where the entry is read: its file would be longer than any entry is.
    if let Some(entry) = decoded.as_ref().filter(|entry| entry.machine().len() <= MOST_NAME_BYTES) {
        let again = match entry {
            Entry::Made(made) => made.encode(),
            Entry::Changed(changed) => changed.encode(),
        };
        let signature = signature.map_or([].as_slice(), <[u8; 64]>::as_slice);
        assert_eq!([&again, signature].concat(), payload, "a payload has one stored form");
    }
    let machine = decoded.as_ref().map_or("", Entry::machine);
    let prefix = Prefix { vault: VAULT, chain: vault_keys().chain_of(machine), sequence, epoch: 0, salt: [7; 32] };
    let bytes = seal(&prefix, payload);
    let opened = vault_keys().open_entry(&prefix.chain, sequence, &bytes);
    if signature.is_some() {
        assert!(opened.is_err(), "what nobody signed");
    } else {
        assert_eq!(opened.ok(), decoded, "what was sealed is what is opened");
    }
    if let Some(Entry::Changed(changed)) = decoded.as_ref().filter(|entry| entry.machine().len() <= MOST_NAME_BYTES) {
        let signed = vault_keys().seal_change(prefix.chain, sequence, changed).expect("sealed");
        let opened = vault_keys().open_entry(&prefix.chain, sequence, &signed).expect("what an administrator signed");
        assert_eq!(Some(opened), decoded);
    }
    assert!(vault_keys().open_entry(&prefix.chain, sequence ^ 1, &bytes).is_err(), "under its own number only");
    assert!(vault_keys().open_entry(&[1; 16], sequence, &bytes).is_err(), "and in its own chain");
    let name = object(&prefix.chain, sequence);
    let number = name.rsplit('/').next().and_then(sequence_of);
    assert!(number.is_none_or(|number| number == sequence), "{name} names its number");
    decoded.is_some()
}

/// The object of an entry with any payload.
fn seal(prefix: &Prefix, payload: &[u8]) -> Vec<u8> {
    let bound = prefix.encode(u32::try_from(payload.len() + 16).expect("short"));
    let ids: [&[u8]; 4] = [&VAULT, &prefix.chain, &prefix.sequence.to_le_bytes(), &prefix.salt];
    let key = keys::meta("icecore 1 catalog entry", &ids);
    let mut bytes = bound.to_vec();
    bytes.extend(keys::seal(&key, [0; 12], &bound, payload));
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

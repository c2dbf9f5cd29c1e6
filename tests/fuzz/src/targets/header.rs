//! The vault's header, with checksum and authenticator put right.

use icecore::format::header::{Header, SIZE};

use super::fix_checksum;
use crate::keys::{self, VAULT, vault_keys};

const AUTHENTICATOR_AT: usize = 112;
const CHECKSUM_AT: usize = 144;

pub fn run(data: &[u8]) -> bool {
    decode(data);
    let mut fixed = data.to_vec();
    if fixed.len() >= CHECKSUM_AT {
        let key = keys::meta("icecore 1 vault header", &[&VAULT]);
        let authenticator = keys::authenticate(&key, &fixed[..AUTHENTICATOR_AT]);
        fixed[AUTHENTICATOR_AT..CHECKSUM_AT].copy_from_slice(&authenticator);
        fix_checksum(&mut fixed, CHECKSUM_AT, SIZE - CHECKSUM_AT);
    }
    decode(&fixed)
}

fn decode(bytes: &[u8]) -> bool {
    let Ok(decoded) = Header::decode(bytes) else { return false };
    let again = decoded.header.encode(decoded.authenticator);
    assert_eq!(again.as_slice(), bytes, "a header has one stored form");
    assert!(decoded.header.chunk_bytes().is_power_of_two());
    let is_ours = vault_keys().check_header("header", &decoded).is_ok();
    assert!(!is_ours || decoded.header.public == keys::PUBLIC, "the public half is the key holder's");
    true
}

//! A record's payload from behind its seal: zstd, and the length that the header declares.

use icecore::format::segment::{Encoding, MOST_PLAIN_BYTES};
use icecore::store::{decode, encode};

use super::{take, take_u8};

/// The declared length, the encoding, the encoded bytes.
pub fn run(mut data: &[u8]) -> bool {
    let declared = u32::from_le_bytes(take(&mut data)) % MOST_PLAIN_BYTES + 1;
    let encoding = if take_u8(&mut data) == 0 { Encoding::Plain } else { Encoding::Zstd };
    // What was in the buffer before must not show.
    let mut plain = vec![0xAA; 100];
    let taken = decode(encoding, data, declared, &mut plain);
    if taken {
        assert_eq!(plain.len(), declared as usize, "decoded bytes are as many as declared");
        assert!(encoding == Encoding::Zstd || plain == data);
        round_trip(&plain[..plain.len().min(1 << 16)]);
    }
    round_trip(data);
    taken
}

fn round_trip(plain: &[u8]) {
    let mut out = vec![0; plain.len()];
    let (encoding, length) = encode(plain, 1, &mut out);
    let mut again = Vec::new();
    let declared = u32::try_from(plain.len()).expect("short");
    assert!(decode(encoding, &out[..length], declared, &mut again), "what was encoded decodes");
    assert!(again == plain, "and is the same");
    if let Some(shorter) = declared.checked_sub(1) {
        let fits = decode(encoding, &out[..length], shorter, &mut again);
        assert!(!fits, "another length than the declared one is refused");
    }
}

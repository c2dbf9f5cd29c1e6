//! Names that the guest encrypted, shown as something that can stand in a path.
//!
//! Ciphertext may hold any byte, `/` and NUL included. It is shown in the URL-safe Base64 alphabet; what would not fit
//! in the 255 bytes of a name is cut, and told apart by a checksum of the whole.

use crate::guest::crc::crc32c;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 189 bytes become 252 characters.
const WHOLE_MAX: usize = 189;
const CUT_BYTES: usize = 180;

pub(super) fn opaque_name(ciphertext: &[u8]) -> Vec<u8> {
    if ciphertext.len() <= WHOLE_MAX {
        return base64(ciphertext);
    }
    let mut name = base64(ciphertext.get(..CUT_BYTES).unwrap_or_default());
    name.extend_from_slice(format!("~{:08x}", crc32c(u32::MAX, ciphertext)).as_bytes());
    name
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for shift in [18, 12, 6, 0].into_iter().take(group.len() + 1) {
            let digit = usize::try_from((bits >> shift) & 63).unwrap_or_default();
            text.extend(ALPHABET.get(digit));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 5. An encrypted name never breaks the rules for names.
    #[test]
    fn ciphertext_becomes_a_name_that_fits() {
        assert_eq!(base64(b"Man"), b"TWFu");
        assert_eq!(base64(b"Ma"), b"TWE");
        for length in 1..=255 {
            let name = opaque_name(&vec![b'/'; length]);
            assert!(name.len() <= 255 && !name.contains(&b'/') && !name.contains(&0), "length {length}");
        }
    }
}

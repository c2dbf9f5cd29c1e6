//! Compression of records: zstd, and the plain bytes where that does not pay.

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};

use crate::format::segment::Encoding;

/// Compression must save at least one byte in this many, or the plain bytes are kept: they cost nothing to decode.
const LEAST_SAVING: usize = 32;

thread_local! {
    /// One context per thread, kept: setting one up costs more than compressing a small record.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Encodes plain bytes into the front of `out`, which has room for them as they are; tells how, and how long that is.
/// Compression that fails for whatever reason keeps them plain.
pub fn encode(plain: &[u8], level: i32, out: &mut [u8]) -> (Encoding, usize) {
    let most = plain.len() - plain.len().div_ceil(LEAST_SAVING);
    // The encoder stops by itself where it would write more than `most`.
    if let Some(length) = compress(plain, level, &mut out[..most]) {
        return (Encoding::Zstd, length);
    }
    out[..plain.len()].copy_from_slice(plain);
    (Encoding::Plain, plain.len())
}

fn compress(plain: &[u8], level: i32, out: &mut [u8]) -> Option<usize> {
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(of, _)| *of != level) {
            *kept = Compressor::new(level).ok().map(|new| (level, new));
        }
        let (_, compressor) = kept.as_mut()?;
        compressor.compress_to_buffer(plain, out).ok()
    })
}

/// Decodes an encoded record into `plain`, replacing what is there; false where it is not `plain_bytes` long.
pub fn decode(encoding: Encoding, encoded: &[u8], plain_bytes: u32, plain: &mut Vec<u8>) -> bool {
    let wanted = plain_bytes as usize;
    plain.clear();
    match encoding {
        Encoding::Plain => plain.extend_from_slice(encoded),
        Encoding::Zstd => {
            plain.reserve_exact(wanted);
            let decoded = DECOMPRESSOR.with_borrow_mut(|kept| {
                if kept.is_none() {
                    *kept = Decompressor::new().ok();
                }
                kept.as_mut()?.decompress_to_buffer(encoded, plain).ok()
            });
            if decoded.is_none() {
                plain.clear();
            }
        }
    }
    plain.len() == wanted
}

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

/// Encodes plain bytes. Compression that fails for whatever reason keeps them plain.
pub fn encode(plain: &[u8], level: i32) -> (Encoding, Vec<u8>) {
    // Room for the tag that sealing appends.
    let most = plain.len() - plain.len().div_ceil(LEAST_SAVING);
    let mut out = Vec::with_capacity(plain.len() + crate::format::TAG_BYTES);
    let compressed = most > 0 && compress(plain, level, most, &mut out);
    if compressed {
        return (Encoding::Zstd, out);
    }
    out.clear();
    out.extend_from_slice(plain);
    (Encoding::Plain, out)
}

fn compress(plain: &[u8], level: i32, most: usize, out: &mut Vec<u8>) -> bool {
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.as_ref().is_none_or(|(of, _)| *of != level) {
            *kept = Compressor::new(level).ok().map(|new| (level, new));
        }
        let Some((_, compressor)) = kept else {
            return false;
        };
        // The encoder stops by itself where it would write more than `most`.
        out.resize(most, 0);
        match compressor.compress_to_buffer(plain, out.as_mut_slice()) {
            Ok(length) => {
                out.truncate(length);
                true
            }
            Err(_) => false,
        }
    })
}

/// Decodes an encoded record into its plain bytes; `None` where it is not `plain_bytes` long.
pub fn decode(encoding: Encoding, encoded: Vec<u8>, plain_bytes: u32) -> Option<Vec<u8>> {
    let wanted = plain_bytes as usize;
    match encoding {
        Encoding::Plain => (encoded.len() == wanted).then_some(encoded),
        Encoding::Zstd => {
            let mut plain = Vec::with_capacity(wanted);
            DECOMPRESSOR.with_borrow_mut(|kept| {
                if kept.is_none() {
                    *kept = Decompressor::new().ok();
                }
                kept.as_mut()?.decompress_to_buffer(&encoded, &mut plain).ok()
            })?;
            (plain.len() == wanted).then_some(plain)
        }
    }
}

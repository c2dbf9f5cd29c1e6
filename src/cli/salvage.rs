//! Reading what is left of a damaged vault: the option, and how bytes that are lost are passed over.

use std::ops::Range;

use clap::Args;
use icecore::Vault;
use icecore::error::Error;
use icecore_fuse::{NodeId, ReadOnlyTree};

use super::arguments::Global;
use super::{human, output};

/// Where a read fails, it is tried again in pieces of this size, in bytes: no vault has smaller chunks.
const PIECE_BYTES: u64 = 4096;

/// The option of verbs that read.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Salvage {
    /// Read what is left of a damaged vault: open it without its header, list points that the catalog lost, put zeros
    /// where bytes are lost, and say so
    #[arg(long)]
    pub salvage: bool,
}

/// Tells what was found that a person must not take for an ordinary point.
pub fn tell(vault: &Vault, global: &Global) {
    let Some(salvaged) = vault.salvaged() else { return };
    if salvaged.points > 0 {
        let points = human::count(salvaged.points as u64, "point was", "points were");
        let text = format!(
            "{points} found in segments without a catalog entry; one may be a backup that was interrupted at its end"
        );
        output::notice(&text, global.json);
    }
    for error in &salvaged.unreadable {
        output::warning(&format!("a point without a catalog entry can't be read: {error}"), global.json);
    }
}

/// Whether bytes are lost, and others near them need not be.
fn is_loss(error: &Error) -> bool {
    matches!(error, Error::Damaged(_) | Error::Vault { .. } | Error::Missing { .. })
}

/// Reads as a tree does, with zeros where bytes are lost.
pub fn read_around(
    tree: &impl ReadOnlyTree<Error = Error>,
    node: NodeId,
    offset: u64,
    buffer: &mut [u8],
    lost: &mut Lost,
) -> Result<usize, Error> {
    match tree.read(node, offset, buffer) {
        Err(error) if is_loss(&error) => {}
        read => return read,
    }
    let size = tree.attributes(node)?.size_bytes;
    let length = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
    let mut done = 0;
    while done < length {
        let at = offset + done as u64;
        let most = usize::try_from(PIECE_BYTES - at % PIECE_BYTES).unwrap_or(1).min(length - done);
        let piece = &mut buffer[done..done + most];
        match tree.read(node, at, piece) {
            Ok(read) if read > 0 => done += read,
            Ok(_) => return Ok(done),
            Err(error) if is_loss(&error) => {
                piece.fill(0);
                lost.add(at..at + most as u64);
                done += most;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Ranges of a file that are lost, in bytes and in order.
#[derive(Debug, Default)]
pub struct Lost(Vec<Range<u64>>);

impl Lost {
    fn add(&mut self, range: Range<u64>) {
        match self.0.last_mut().filter(|last| last.end == range.start) {
            Some(last) => last.end = range.end,
            None => self.0.push(range),
        }
    }

    /// Whether nothing is lost.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells each range of a file, by its path.
    pub fn tell(&self, path: &[u8], as_json: bool) {
        for Range { start, end } in &self.0 {
            let path = String::from_utf8_lossy(path);
            output::warning(&format!("{path} bytes {start}..{end} are lost and are zeros here"), as_json);
        }
    }
}

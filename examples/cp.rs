//! Copies one file of the tree, holes kept: `cp VAULT PASSWORD_FILE PATH TARGET`.

use std::fs::File;
use std::os::unix::fs::FileExt;

use icecore_fuse::{ReadOnlyTree, Seek};

mod support;

fn main() -> support::Outcome {
    let (vault, arguments) = support::open(&["PATH", "TARGET"])?;
    let tree = vault.tree();
    let file = tree.resolve(&arguments[0], true)?;
    let size = tree.attributes(file)?.size_bytes;
    let target = File::create_new(&arguments[1])?;
    target.set_len(size)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while let Some(mut start) = tree.seek(file, at, Seek::Data)? {
        let end = tree.seek(file, start, Seek::Hole)?.unwrap_or(size);
        while start < end {
            let most = buffer.len().min(usize::try_from(end - start)?);
            let length = tree.read(file, start, &mut buffer[..most])?;
            target.write_all_at(&buffer[..length], start)?;
            start += length as u64;
        }
        at = end;
    }
    Ok(())
}

//! Writes a file of the tree to standard output: `cat VAULT PASSWORD_FILE PATH`.

use std::io::Write;

use icecore_fuse::ReadOnlyTree;

mod support;

fn main() -> support::Outcome {
    let (vault, arguments) = support::open(&["PATH"])?;
    let tree = vault.tree();
    let file = tree.resolve(&arguments[0], true)?;
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        let length = tree.read(file, offset, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        std::io::stdout().write_all(&buffer[..length])?;
        offset += length as u64;
    }
}

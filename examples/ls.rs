//! Lists a directory of the tree: `ls VAULT PASSWORD_FILE PATH`, such as `web01/latest/files/os/p2/etc`.

use icecore_fuse::ReadOnlyTree;

mod support;

fn main() -> support::Outcome {
    let (vault, arguments) = support::open(&["PATH"])?;
    let tree = vault.tree();
    let directory = tree.resolve(&arguments[0], true)?;
    let mut entries = Vec::new();
    tree.read_directory(directory, 0, &mut |entry| {
        entries.push((String::from_utf8_lossy(entry.name).into_owned(), entry.node));
        true
    })?;
    for (name, node) in entries {
        let attributes = tree.attributes(node)?;
        println!("{:?} {:>12} {name}", attributes.kind, attributes.size_bytes);
    }
    Ok(())
}

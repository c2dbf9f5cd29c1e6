//! Prints every path below one whose name holds a text: `find VAULT PASSWORD_FILE PATH TEXT`.

use icecore::tree::VaultTree;
use icecore_fuse::{FileType, NodeId, ReadOnlyTree};

mod support;

fn walk(tree: &VaultTree, directory: NodeId, path: &str, text: &str) -> icecore::Result<()> {
    let mut entries = Vec::new();
    tree.read_directory(directory, 0, &mut |entry| {
        entries.push((String::from_utf8_lossy(entry.name).into_owned(), entry.node, entry.kind));
        true
    })?;
    for (name, node, kind) in entries {
        let path = format!("{path}/{name}");
        if name.contains(text) {
            println!("{path}");
        }
        if kind == FileType::Directory {
            walk(tree, node, &path, text)?;
        }
    }
    Ok(())
}

fn main() -> support::Outcome {
    let (vault, arguments) = support::open(&["PATH", "TEXT"])?;
    let tree = vault.tree();
    let start = tree.resolve(&arguments[0], true)?;
    Ok(walk(&tree, start, &arguments[0], &arguments[1])?)
}

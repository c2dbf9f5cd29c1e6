//! Promise 5: any recovery point can be browsed; here: links, also one that leads elsewhere later, as `latest` does.

use std::fs;
use std::path::Path;
use std::thread::sleep;

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount};
use icecore_fuse::MUTABLE_TTL;

#[test]
fn links_lead_where_the_tree_says() {
    if !can_mount("links_lead_where_the_tree_says") {
        return;
    }
    let tree = MemoryTree::new();
    tree.change(ROOT, |root| root.immutable = false);
    tree.add(ROOT, "one", 2, Content::File(b"first".to_vec()));
    tree.add(ROOT, "three", 3, Content::File(b"second".to_vec()));
    tree.add(ROOT, "fixed", 4, Content::Link(b"one".to_vec()));
    tree.add(ROOT, "latest", 5, Content::Link(b"one".to_vec()));
    tree.add(ROOT, "dangling", 6, Content::Link(b"/no/\xff/where".to_vec()));
    tree.change(5, |link| link.immutable = false);
    let mounted = Mounted::new(tree);

    for _ in 0..2 {
        assert_eq!(fs::read_link(mounted.join("fixed")).unwrap(), Path::new("one"));
        assert_eq!(fs::read(mounted.join("fixed")).unwrap(), b"first");
        assert_eq!(fs::read_link(mounted.join("latest")).unwrap(), Path::new("one"));
        assert_eq!(fs::read(mounted.join("latest")).unwrap(), b"first");
    }
    let dangling = fs::read_link(mounted.join("dangling")).unwrap();
    assert_eq!(dangling.as_os_str().as_encoded_bytes(), b"/no/\xff/where");

    mounted.tree.change(5, |link| {
        link.content = Content::Link(b"three".to_vec());
        link.attributes.size_bytes = 5;
    });
    sleep(MUTABLE_TTL * 3 / 2);
    assert_eq!(fs::read_link(mounted.join("latest")).unwrap(), Path::new("three"));
    assert_eq!(fs::read(mounted.join("latest")).unwrap(), b"second");
}

//! Promise 2: a read returns the bytes or an error; here: the tree's error is the reader's, and a person is told why.

use std::fs;

use crate::common::{Content, EIO, MemoryTree, Mounted, ROOT, can_mount};

#[test]
fn a_trees_error_reaches_the_reader_and_the_person() {
    if !can_mount("a_trees_error_reaches_the_reader_and_the_person") {
        return;
    }
    let tree = MemoryTree::new();
    tree.add(ROOT, "damaged", 2, Content::Failing(EIO));
    tree.add(ROOT, "refused", 3, Content::Failing(13));
    tree.add(ROOT, "damaged directory", 4, Content::Failing(EIO));
    tree.change(4, |node| node.attributes.kind = icecore_fuse::FileType::Directory);
    let mounted = Mounted::new(tree);
    let told = || mounted.failures.lock().unwrap().clone();
    let errno = |error: std::io::Error| error.raw_os_error();

    assert_eq!(fs::read(mounted.join("refused")).map_err(errno), Err(Some(13)));
    assert!(fs::metadata(mounted.join("missing")).is_err());
    // Plain answers are nothing to tell a person.
    assert_eq!(told(), Vec::<String>::new());

    assert_eq!(fs::read(mounted.join("damaged")).map_err(errno), Err(Some(EIO)));
    assert!(told().contains(&"read of node 2: broken on purpose (5)".to_owned()), "{:?}", told());

    let listed: Result<Vec<_>, _> = fs::read_dir(mounted.join("damaged directory")).unwrap().collect();
    assert_eq!(listed.map_err(errno).unwrap_err(), Some(EIO));
    assert!(told().contains(&"read_directory of node 4: broken on purpose (5)".to_owned()), "{:?}", told());
}

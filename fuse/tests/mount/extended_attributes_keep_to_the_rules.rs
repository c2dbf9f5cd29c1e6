//! Promise 5: any recovery point can be browsed; here: extended attributes with the errors that programs rely on.

use crate::common::{Content, MemoryTree, Mounted, ROOT, can_mount, noise};
use rustix::fs::{getxattr, getxattr_query, listxattr, listxattr_query};
use rustix::io::Errno;

#[test]
fn extended_attributes_keep_to_the_rules() {
    if !can_mount("extended_attributes_keep_to_the_rules") {
        return;
    }
    let tree = MemoryTree::new();
    let large = noise(3, 65_536);
    tree.add(ROOT, "file", 2, Content::File(Vec::new()));
    tree.change(2, |node| {
        node.xattrs = vec![
            (b"user.small".to_vec(), b"value".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
            (b"user.large".to_vec(), large.clone()),
            (b"user.too large".to_vec(), vec![0; 65_537]),
            // Names that the kernel would refuse the whole list for.
            (Vec::new(), Vec::new()),
            (b"user.\0".to_vec(), Vec::new()),
        ];
    });
    tree.add(ROOT, "bare", 3, Content::File(Vec::new()));
    let mounted = Mounted::new(tree);
    let file = mounted.join("file");
    let get = |name: &str, size: usize| {
        let mut buffer = vec![0; size];
        getxattr(&file, name, &mut buffer[..]).map(|size| buffer[..size].to_vec())
    };
    let size_of = |name: &str| getxattr_query(&file, name);

    assert_eq!(get("user.small", 100).unwrap(), b"value");
    assert_eq!(get("user.small", 5).unwrap(), b"value");
    assert_eq!(get("user.small", 4), Err(Errno::RANGE));
    assert_eq!(size_of("user.small"), Ok(5));
    assert_eq!(get("user.empty", 10).unwrap(), b"");
    assert_eq!(get("user.large", 65_536).unwrap(), large);
    assert_eq!(get("user.too large", 65_536), Err(Errno::TOOBIG));
    assert_eq!(size_of("user.too large"), Err(Errno::TOOBIG));
    assert_eq!(get("user.missing", 10), Err(Errno::NODATA));

    let names = b"user.small\0user.empty\0user.large\0user.too large\0";
    let mut buffer = [0; 1000];
    let size = listxattr(&file, &mut buffer[..]).unwrap();
    assert_eq!(&buffer[..size], names);
    assert_eq!(listxattr_query(&file), Ok(names.len()));
    assert_eq!(listxattr(&file, &mut buffer[..names.len() - 1]), Err(Errno::RANGE));
    assert_eq!(listxattr(mounted.join("bare"), &mut buffer[..]), Ok(0));
}

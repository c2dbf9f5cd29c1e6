//! Promise 2: damage to a guest's structure is an error that names it, and costs nothing but what it is part of.

use std::path::Path;
use std::sync::Arc;

use crate::guest_support::image::{self, run};
use crate::guest_support::{MemoryDisk, source};
use icecore::guest::{Damage, Error, Fault, FileSystem, Object, Probe, probe};
use icecore_fuse::{NodeId, ReadOnlyTree};

const BLOCK: usize = 1024;

struct Image {
    bytes: Vec<u8>,
    path: std::path::PathBuf,
    _place: tempfile::TempDir,
}

/// One of each: a directory in several blocks with an index, a file with an extent block, one with an xattr block.
fn make() -> Image {
    let place = tempfile::tempdir().expect("a directory");
    let from = place.path().join("source");
    std::fs::create_dir_all(from.join("many")).expect("a directory");
    for number in 0..200 {
        std::fs::write(from.join(format!("many/name-{number:040}")), b"").expect("a file");
    }
    fragmented(&from.join("file"));
    std::fs::write(from.join("attributes"), b"content").expect("a file");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(from.join("attributes"), "user.x", &source::noise(3, 700), flags).expect("an attribute");
    std::fs::write(from.join("bystander"), b"unharmed").expect("a file");
    let path = place.path().join("image");
    image::make(&path, "16M", &["-t", "ext4", "-b", "1024", "-g", "1024"], Some(&from));
    Image { bytes: std::fs::read(&path).expect("the image"), path, _place: place }
}

/// Every other block is a hole, so that its extents need a block of their own.
fn fragmented(path: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).expect("a file");
    for piece in 0..40 {
        file.write_all_at(&source::noise(piece, 4096), piece * 65_536).expect("a write");
    }
}

impl Image {
    fn open_with(&self, flip_at: usize) -> Result<FileSystem, Error> {
        let mut bytes = self.bytes.clone();
        bytes[flip_at] ^= 0x10;
        match probe(Arc::new(MemoryDisk(bytes)))? {
            Probe::FileSystem(tree) => Ok(tree),
            Probe::Other(content) => panic!("{content:?}"),
        }
    }

    fn debugfs(&self, command: &str) -> String {
        run("debugfs", &["-R", command, self.path.to_str().expect("UTF-8")])
    }

    /// The number that debugfs prints behind a word.
    fn number_behind(&self, command: &str, word: &str) -> usize {
        let text = self.debugfs(command);
        let behind = text.split_once(word).unwrap_or_else(|| panic!("{word} in {text}")).1;
        let digits: String = behind.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("a number behind {word} in {text}"))
    }
}

fn node(tree: &FileSystem, path: &str) -> NodeId {
    path.split('/').fold(tree.root(), |node, name| {
        tree.lookup(node, name.as_bytes()).expect("a lookup").unwrap_or_else(|| panic!("{name} is there"))
    })
}

fn damage<V: std::fmt::Debug>(result: Result<V, Error>) -> Object {
    match result {
        Err(Error::Damaged(Damage { object, fault: Fault::Checksum { .. } })) => object,
        other => panic!("a wrong checksum was expected, not {other:?}"),
    }
}

fn expect_bystander(tree: &FileSystem) {
    let mut buffer = [0; 20];
    let read = tree.read(node(tree, "bystander"), 0, &mut buffer).expect("the bystander can be read");
    assert_eq!(&buffer[..read], b"unharmed");
}

#[test]
fn a_superblock_is_checked() {
    let image = make();
    assert_eq!(damage(image.open_with(1024 + 0x78).map(|_| ())), Object::Superblock);
}

#[test]
fn a_group_descriptor_costs_its_group() {
    let image = make();
    // Descriptors are 64 bytes and begin in block 2; the root is in group 0, so damage the last group's.
    let tree = image.open_with(2 * BLOCK + 15 * 64 + 4).expect("it opens");
    let last = tree.space().expect("space").files;
    assert!(last > 0);
    let inodes_per_group = image.number_behind("stats -h", "Inodes per group:") as u64;
    assert_eq!(damage(tree.attributes(15 * inodes_per_group + 1)), Object::GroupDescriptor { group: 15 });
    expect_bystander(&tree);
}

#[test]
fn an_inode_costs_itself() {
    let image = make();
    let block = image.number_behind("imap /file", "located at block");
    let text = image.debugfs("imap /file");
    let offset = text.split_once("offset 0x").expect("an offset").1.trim();
    let offset = usize::from_str_radix(offset, 16).expect("a number");
    let tree = image.open_with(block * BLOCK + offset + 0x18).expect("it opens");
    let file = node(&tree, "file");
    assert_eq!(damage(tree.attributes(file)), Object::Inode { inode: file });
    expect_bystander(&tree);
}

#[test]
fn an_extent_block_costs_its_file() {
    let image = make();
    let block = image.number_behind("stat /file", "(ETB0):");
    let tree = image.open_with(block * BLOCK + 20).expect("it opens");
    let file = node(&tree, "file");
    let object = damage(tree.read(file, 0, &mut [0; 10]));
    assert_eq!(object, Object::MapBlock { inode: file, block: block as u64 });
    assert!(tree.attributes(file).is_ok(), "its attributes are elsewhere");
    expect_bystander(&tree);
}

#[test]
fn an_attribute_block_costs_the_attributes() {
    let image = make();
    let block = image.number_behind("stat /attributes", "File ACL:");
    let tree = image.open_with(block * BLOCK + 500).expect("it opens");
    let file = node(&tree, "attributes");
    assert_eq!(damage(tree.xattr(file, b"user.x")), Object::Xattrs { inode: file, block: block as u64 });
    assert_eq!(tree.read(file, 0, &mut [0; 10]).expect("its content is elsewhere"), 7);
    expect_bystander(&tree);
}

#[test]
fn a_directory_block_hides_no_other_block() {
    let image = make();
    let block = image.number_behind("bmap /many 3", "");
    let whole = image.open_with(0).expect("it opens");
    let many = node(&whole, "many");
    let mut all = Vec::new();
    whole
        .read_directory(many, 0, &mut |entry| {
            all.push(entry.name.to_vec());
            true
        })
        .expect("a listing");
    assert_eq!(all.len(), 200);

    let tree = image.open_with(block * BLOCK + 9).expect("it opens");
    let mut left = Vec::new();
    let result = tree.read_directory(many, 0, &mut |entry| {
        left.push(entry.name.to_vec());
        true
    });
    let object = Object::DirectoryBlock { inode: many, index: 3 };
    assert_eq!(damage(result), object, "whoever lists it learns of the damage");
    assert!(left.len() > 150 && left.len() < 200, "{} of 200 names are left", left.len());
    for name in &all {
        if left.contains(name) {
            assert!(tree.lookup(many, name).expect("a name in a sound block").is_some());
        } else {
            assert_eq!(damage(tree.lookup(many, name)), object, "a lost name is damaged, not absent");
        }
    }
    expect_bystander(&tree);
}

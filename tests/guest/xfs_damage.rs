//! Promise 2: damage to a structure of a guest's XFS is an error that names it, and costs nothing but what it is part
//! of; a feature that is not known here is refused by name.

use std::sync::Arc;

use crate::guest_support::{MemoryDisk, PatchedDisk, not_run, source, xfs};
use icecore::guest::{Damage, Error, Fault, Feature, FileSystem, GuestFileSystem, Object, Probe, probe};
use icecore_fuse::{NodeId, ReadOnlyTree};

const BLOCK: usize = 1024;
const DIRECTORY_BLOCK: usize = 4096;
const INODE: usize = 512;

/// One of each kind of block; `None`, and said so, where no image can be made.
fn make(test: &str) -> Option<Arc<Vec<u8>>> {
    if let Err(why) = xfs::can_make() {
        not_run(test, &why);
        return None;
    }
    let place = xfs::scratch();
    let path = place.path().join("image");
    xfs::make(&path, "32M", &["-b", "size=1024"]);
    match xfs::mount(&path, &place.path().join("mount"), "rw") {
        Ok(mount) => {
            for directory in ["many", "others"] {
                let directory = mount.path.join(directory);
                std::fs::create_dir(&directory).expect("a directory");
                for number in 0..600 {
                    std::fs::write(directory.join(format!("name-{number:040}")), b"").expect("a file");
                }
            }
            xfs::fragmented(&mount.path.join("file"), 200);
            std::fs::write(mount.path.join("attributes"), b"content").expect("a file");
            let flags = rustix::fs::XattrFlags::empty();
            let value = source::noise(3, 700);
            rustix::fs::setxattr(mount.path.join("attributes"), "user.x", &value, flags).expect("an attribute");
            std::os::unix::fs::symlink("x".repeat(900), mount.path.join("link")).expect("a link");
            std::fs::write(mount.path.join("bystander"), b"unharmed").expect("a file");
        }
        Err(why) => {
            not_run(test, &why);
            return None;
        }
    }
    Some(Arc::new(std::fs::read(&path).expect("the image")))
}

fn open_with(bytes: &Arc<Vec<u8>>, patches: Vec<(usize, Vec<u8>)>) -> Result<FileSystem, Error> {
    match probe(Arc::new(PatchedDisk { bytes: Arc::clone(bytes), patches }))? {
        Probe::FileSystem(tree) => Ok(tree),
        Probe::Other(content) => panic!("{content:?}"),
    }
}

fn flip(bytes: &[u8], at: usize) -> Vec<(usize, Vec<u8>)> {
    vec![(at, vec![bytes[at] ^ 0x10])]
}

fn node(tree: &FileSystem, path: &str) -> NodeId {
    path.split('/').fold(tree.root(), |node, name| {
        tree.lookup(node, name.as_bytes()).expect("a lookup").unwrap_or_else(|| panic!("{name} is there"))
    })
}

/// The places of blocks with a magic number that belong to an inode.
fn blocks(bytes: &[u8], magic: &[u8; 4], owner_at: usize, owner: NodeId) -> Vec<usize> {
    let is_wanted = |block: &[u8]| block.starts_with(magic) && block[owner_at..owner_at + 8] == owner.to_be_bytes();
    bytes.chunks(BLOCK).enumerate().filter(|(_, block)| is_wanted(block)).map(|(index, _)| index * BLOCK).collect()
}

fn damage<V: std::fmt::Debug>(result: Result<V, Error>) -> Damage {
    match result {
        Err(Error::Damaged(damage)) => damage,
        other => panic!("damage was expected, not {other:?}"),
    }
}

fn is_checksum(damage: Damage) -> bool {
    matches!(damage.fault, Fault::Checksum { .. })
}

fn expect_bystander(tree: &FileSystem) {
    let mut buffer = [0; 20];
    let read = tree.read(node(tree, "bystander"), 0, &mut buffer).expect("the bystander can be read");
    assert_eq!(&buffer[..read], b"unharmed");
}

fn names(tree: &FileSystem, directory: NodeId) -> (Vec<Vec<u8>>, Result<(), Error>) {
    let mut names = Vec::new();
    let result = tree.read_directory(directory, 0, &mut |entry| {
        names.push(entry.name.to_vec());
        true
    });
    (names, result)
}

#[test]
fn damage_is_named_and_costs_only_what_it_is_part_of() {
    let Some(bytes) = make("damage_is_named_and_costs_only_what_it_is_part_of") else { return };
    let whole = open_with(&bytes, Vec::new()).expect("it opens");
    assert_eq!(damage(open_with(&bytes, flip(&bytes, 0x70)).map(|_| ())).object, Object::Superblock);

    let file = node(&whole, "file");
    let inodes =
        bytes.chunks(INODE).position(|inode| inode.starts_with(b"IN") && inode[152..160] == file.to_be_bytes());
    let tree = open_with(&bytes, flip(&bytes, inodes.expect("the inode") * INODE + 0x18)).expect("it opens");
    let found = damage(tree.attributes(file));
    assert!(found.object == Object::Inode { inode: file } && is_checksum(found), "{found}");
    expect_bystander(&tree);

    let map = blocks(&bytes, b"BMA3", 56, file);
    let tree = open_with(&bytes, flip(&bytes, map[0] + 90)).expect("it opens");
    let found = damage((0..200).try_for_each(|piece| tree.read(file, piece * 8192, &mut [0; 10]).map(|_| ())));
    assert!(matches!(found.object, Object::MapBlock { inode, .. } if inode == file) && is_checksum(found), "{found}");
    assert!(tree.attributes(file).is_ok(), "its attributes are elsewhere");
    expect_bystander(&tree);

    let link = node(&whole, "link");
    let tree = open_with(&bytes, flip(&bytes, blocks(&bytes, b"XSLM", 32, link)[0] + 200)).expect("it opens");
    assert!(is_checksum(damage(tree.read_link(link))));
    expect_bystander(&tree);

    let attributes = node(&whole, "attributes");
    let is_leaf = |block: &[u8]| block[8..10] == [0x3B, 0xEE] && block[48..56] == attributes.to_be_bytes();
    let leaf = bytes.chunks(BLOCK).position(is_leaf).expect("a leaf");
    let tree = open_with(&bytes, flip(&bytes, leaf * BLOCK + 500)).expect("it opens");
    let found = damage(tree.xattr(attributes, b"user.x"));
    assert!(found.object == Object::Xattrs { inode: attributes, block: 0 } && is_checksum(found), "{found}");
    assert_eq!(tree.read(attributes, 0, &mut [0; 10]).expect("its content is elsewhere"), 7);
    expect_bystander(&tree);
}

#[test]
fn a_directory_block_hides_no_other_block() {
    let Some(bytes) = make("a_directory_block_hides_no_other_block") else { return };
    let whole = open_with(&bytes, Vec::new()).expect("it opens");
    let (many, others) = (node(&whole, "many"), node(&whole, "others"));
    let (all, result) = names(&whole, many);
    assert!(all.len() == 600 && result.is_ok());
    let (mine, theirs) = (blocks(&bytes, b"XDD3", 40, many), blocks(&bytes, b"XDD3", 40, others));
    // A flipped bit; a sound block of another directory; a sound older place of the same directory.
    let patches = [
        flip(&bytes, mine[3] + 100),
        vec![(mine[3], bytes[theirs[2]..][..DIRECTORY_BLOCK].to_vec())],
        vec![(mine[3], bytes[mine[4]..][..DIRECTORY_BLOCK].to_vec())],
    ];
    for patch in patches {
        let tree = open_with(&bytes, patch).expect("it opens");
        let (left, result) = names(&tree, many);
        let found = damage(result);
        assert!(matches!(found.object, Object::DirectoryBlock { inode, .. } if inode == many), "{found}");
        assert!(left.len() > 500 && left.len() < 600, "{} of 600 names are left", left.len());
        for name in &all {
            if left.contains(name) {
                assert!(tree.lookup(many, name).expect("a name in a sound block").is_some());
            } else {
                assert_eq!(damage(tree.lookup(many, name)), found, "a lost name is damaged, not absent");
            }
        }
        expect_bystander(&tree);
    }
}

#[test]
fn unknown_features_are_refused_by_name() {
    let Some(bytes) = make("unknown_features_are_refused_by_name") else { return };
    let refused = |bits: u32| {
        let mut sector = bytes[..512].to_vec();
        let old = u32::from_be_bytes(sector[216..220].try_into().expect("4 bytes"));
        sector[216..220].copy_from_slice(&(old | bits).to_be_bytes());
        xfs::put_checksum(&mut sector, 224);
        open_with(&bytes, vec![(0, sector)])
    };
    let feature = |bits| match refused(bits) {
        Err(Error::Unsupported(feature)) => feature,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{bits:#x} was not refused"),
    };
    assert_eq!(feature(0x100), Feature::Xfs("metadir"));
    assert_eq!(feature(0x200), Feature::Xfs("zoned"));
    assert_eq!(feature(0x8000_0000), Feature::XfsIncompatBits(0x8000_0000));
    // One that a repair must follow is told of, not refused.
    assert!(refused(0x10).expect("it opens").info().has_recorded_errors);
}

#[test]
fn a_file_on_the_realtime_device_is_refused_alone() {
    let Some(bytes) = make("a_file_on_the_realtime_device_is_refused_alone") else { return };
    let whole = open_with(&bytes, Vec::new()).expect("it opens");
    let file = node(&whole, "file");
    let is_file = |inode: &[u8]| inode.starts_with(b"IN") && inode[152..160] == file.to_be_bytes();
    let at = bytes.chunks(INODE).position(is_file).expect("the inode") * INODE;
    let mut inode = bytes[at..at + INODE].to_vec();
    inode[91] |= 1;
    xfs::put_checksum(&mut inode, 100);
    let tree = open_with(&bytes, vec![(at, inode)]).expect("it opens");
    assert!(matches!(tree.read(file, 0, &mut [0; 10]), Err(Error::Unsupported(Feature::Xfs(_)))));
    assert!(tree.attributes(file).is_ok());
    expect_bystander(&tree);
}

#[test]
fn a_superblock_that_is_cut_off_is_damage() {
    let error = probe(Arc::new(MemoryDisk(b"XFSB".to_vec()))).err().expect("an error");
    assert!(matches!(error, Error::Damaged(Damage { object: Object::Superblock, fault: Fault::CutShort })), "{error}");
}

//! What a guest says of itself: files, links and directories where facts are looked for, with any content.

use std::collections::BTreeMap;
use std::sync::Arc;

use icecore::guest::facts::{Part, find};
use icecore::guest::{Error, GuestFileSystem, VolumeInfo, VolumeState};
use icecore_fuse::{Attributes, DirectoryEntry, FileType, NodeId, ReadOnlyTree, Seek, Space};

use super::{take_u8, take_u16};

/// Where nodes of the input lie; the number of one begins it.
pub const PATHS: [&str; 24] = [
    "etc/os-release",
    "usr/lib/os-release",
    "etc/hostname",
    "etc/fstab",
    "etc/machine-id",
    "etc/localtime",
    "etc/timezone",
    "etc/sysconfig/network",
    "etc/redhat-release",
    "etc/debian_version",
    "boot/grub/grub.cfg",
    "boot/grub/grubenv",
    "boot/loader/entries/a-6.1.0.conf",
    "boot/vmlinuz-6.1.0-18",
    "boot/vmlinuz-6.1.0-9",
    "bin/sh",
    "usr/bin/dash",
    "lib/modules/6.1.0/kernel",
    "lib/modules/5.10/kernel",
    "lib",
    "bin",
    "boot",
    "etc",
    "usr/lib/modules/6.2/kernel",
];

struct Node {
    kind: FileType,
    content: Vec<u8>,
    children: BTreeMap<Vec<u8>, usize>,
}

struct Tree {
    nodes: Arc<Vec<Node>>,
    info: VolumeInfo,
}

/// Pieces: which path, what kind of node, how many bytes, the bytes.
pub fn run(mut data: &[u8]) -> bool {
    let mut nodes = vec![Node { kind: FileType::Directory, content: Vec::new(), children: BTreeMap::new() }];
    while let [_, _, _, _, ..] = data {
        let path = PATHS[usize::from(take_u8(&mut data)) % PATHS.len()];
        let kind = [FileType::Regular, FileType::Symlink, FileType::Directory][usize::from(take_u8(&mut data)) % 3];
        let length = usize::from(take_u16(&mut data));
        let (content, rest) = data.split_at(length.min(data.len()));
        add(&mut nodes, path, kind, content);
        data = rest;
    }
    let nodes = Arc::new(nodes);
    let trees = ["root", "other"].map(|label| Tree { nodes: Arc::clone(&nodes), info: info(label) });
    let part = |tree| Part {
        name: "os/p1".to_owned(),
        volume: "vg-root".to_owned(),
        partition_label: None,
        partition_uuid: None,
        tree,
    };
    let Some(facts) = find(&[part(&trees[0]), part(&trees[1])]).expect("memory can be read") else { return false };
    assert!(facts.kernels.len() <= 32 && facts.unreadable.len() <= 16 && facts.mounts.len() <= 129);
    let texts = [&facts.os, &facts.os_id, &facts.version, &facts.host_name, &facts.boots_next, &facts.time_zone];
    let texts = texts.into_iter().flatten().chain(&facts.kernels).chain(facts.mounts.keys());
    for text in texts {
        assert!(!text.is_empty() && text.chars().count() <= 256 && !text.chars().any(char::is_control), "{text:?}");
    }
    facts.os.is_some() || facts.host_name.is_some()
}

fn info(label: &str) -> VolumeInfo {
    VolumeInfo {
        file_system: "ext4",
        label: Some(label.to_owned()),
        uuid: None,
        size_bytes: 1,
        used_bytes: 1,
        state: VolumeState::Clean,
        has_recorded_errors: false,
    }
}

fn add(nodes: &mut Vec<Node>, path: &str, kind: FileType, content: &[u8]) {
    let mut at = 0;
    let names: Vec<&str> = path.split('/').collect();
    for (depth, name) in names.iter().enumerate() {
        let is_last = depth + 1 == names.len();
        let found = nodes[at].children.get(name.as_bytes()).copied();
        let next = found.unwrap_or(nodes.len());
        if found.is_none() {
            let kind = if is_last { kind } else { FileType::Directory };
            nodes.push(Node { kind, content: content.to_vec(), children: BTreeMap::new() });
            nodes[at].children.insert(name.as_bytes().to_vec(), next);
        }
        if nodes[next].kind != FileType::Directory {
            return;
        }
        at = next;
    }
}

impl Tree {
    fn node(&self, node: NodeId) -> &Node {
        &self.nodes[usize::try_from(node - 1).expect("a node that was handed out")]
    }
}

impl GuestFileSystem for Tree {
    fn info(&self) -> &VolumeInfo {
        &self.info
    }
}

impl ReadOnlyTree for Tree {
    type Error = Error;

    fn errno(error: &Error) -> i32 {
        error.errno()
    }

    fn root(&self) -> NodeId {
        1
    }

    fn is_immutable(&self, _: NodeId) -> bool {
        true
    }

    fn attributes(&self, node: NodeId) -> Result<Attributes, Error> {
        let Node { kind, content, .. } = self.node(node);
        let time = icecore_fuse::Timestamp::default();
        Ok(Attributes {
            node,
            kind: *kind,
            size_bytes: content.len() as u64,
            blocks_512: 0,
            mode: 0o755,
            uid: 0,
            gid: 0,
            links: 1,
            device: (0, 0),
            accessed: time,
            modified: time,
            changed: time,
            created: None,
        })
    }

    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<NodeId>, Error> {
        let Node { kind, children, .. } = self.node(parent);
        if *kind != FileType::Directory {
            return Err(Error::NotADirectory { node: parent });
        }
        Ok(children.get(name).map(|number| *number as u64 + 1))
    }

    fn parent(&self, _: NodeId) -> Result<NodeId, Error> {
        unreachable!("facts go back the way they came")
    }

    fn read_directory(
        &self,
        directory: NodeId,
        _: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), Error> {
        for (name, number) in &self.node(directory).children {
            let entry = DirectoryEntry { name, node: *number as u64 + 1, kind: self.nodes[*number].kind, next: 1 };
            if !visit(entry) {
                break;
            }
        }
        Ok(())
    }

    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Error> {
        Ok(self.node(node).content.clone())
    }

    fn read(&self, node: NodeId, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        assert_eq!(offset, 0, "facts are at the beginning of files");
        let content = &self.node(node).content;
        let length = content.len().min(buffer.len());
        buffer[..length].copy_from_slice(&content[..length]);
        Ok(length)
    }

    fn seek(&self, _: NodeId, _: u64, _: Seek) -> Result<Option<u64>, Error> {
        unreachable!("facts seek nothing")
    }

    fn list_xattrs(&self, _: NodeId) -> Result<Vec<Vec<u8>>, Error> {
        unreachable!("facts are in no attribute")
    }

    fn xattr(&self, _: NodeId, _: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        unreachable!("facts are in no attribute")
    }

    fn space(&self) -> Result<Space, Error> {
        unreachable!("facts take no space")
    }
}

//! A node of the tree as people and programs get it.

use icecore_fuse::{Attributes, FileType};
use serde::Serialize;

use super::human;
use super::paths;

/// A node, one line of JSON.
#[derive(Serialize)]
pub struct NodeJson {
    message_type: &'static str,
    name: String,
    path: String,
    /// The path's bytes in hex, where they are no UTF-8 and `path` is only nearly right.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    size_bytes: u64,
    mode: String,
    uid: u32,
    gid: u32,
    links: u32,
    mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl NodeJson {
    /// A node at a path of the vault, with its target if it is a link.
    pub fn new(path: &[u8], attributes: &Attributes, link: Option<&[u8]>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            message_type: "node",
            name: text(paths::last(path)),
            path: text(path),
            path_hex: std::str::from_utf8(path).is_err().then(|| icecore::format::hex(path)),
            kind: kind_name(attributes.kind),
            size_bytes: attributes.size_bytes,
            mode: format!("{:04o}", attributes.mode & 0o7777),
            uid: attributes.uid,
            gid: attributes.gid,
            links: attributes.links,
            mtime: human::time_exact(attributes.modified),
            target: link.map(text),
        }
    }
}

/// A kind as restic names it.
pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "dir",
        FileType::Regular => "file",
        FileType::Symlink => "symlink",
        FileType::BlockDevice => "dev",
        FileType::CharDevice => "chardev",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// Kind and mode as `ls -l` shows them.
pub fn mode_text(kind: FileType, mode: u16) -> String {
    let kind = match kind {
        FileType::Directory => 'd',
        FileType::Regular => '-',
        FileType::Symlink => 'l',
        FileType::BlockDevice => 'b',
        FileType::CharDevice => 'c',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_in_ls() {
        assert_eq!(mode_text(FileType::Regular, 0o644), "-rw-r--r--");
        assert_eq!(mode_text(FileType::Regular, 0o4755), "-rwsr-xr-x");
        assert_eq!(mode_text(FileType::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode_text(FileType::CharDevice, 0o2060), "c---rwS---");
    }
}

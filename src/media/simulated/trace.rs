//! What was done to a simulated disk, call by call.

use std::sync::Arc;

use super::Image;

/// A file or directory, by a number that is never used again. The root is 0.
pub type Node = usize;

/// A call that changed something, or made a change durable.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A file was created.
    Create {
        /// The directory of its name.
        directory: Node,
        /// Its name.
        name: String,
        /// The file.
        node: Node,
    },
    /// A directory was made.
    MakeDirectory {
        /// The directory of its name.
        directory: Node,
        /// Its name.
        name: String,
        /// The new directory.
        node: Node,
    },
    /// Bytes were written.
    Write {
        /// The file.
        node: Node,
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// A name was given up for another.
    Rename {
        /// Directory and name before.
        from: (Node, String),
        /// Directory and name after.
        to: (Node, String),
        /// What has the name.
        node: Node,
    },
    /// A name was removed.
    Remove {
        /// The directory.
        directory: Node,
        /// The name.
        name: String,
    },
    /// A file was synced.
    Sync {
        /// The file.
        node: Node,
    },
    /// A directory was synced.
    SyncDirectory {
        /// The directory.
        node: Node,
    },
    /// Something that the program said to the world, such as that a point is made.
    Note(String),
}

/// An image and everything that was done since.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The disk before; all of it durable.
    pub before: Image,
    /// Numbers of what was there before, as paths in the order of their numbers, beginning with the root.
    pub nodes_before: Vec<std::path::PathBuf>,
    /// The calls, in order.
    pub operations: Vec<Operation>,
}

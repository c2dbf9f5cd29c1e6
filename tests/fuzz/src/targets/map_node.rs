//! A node of a disk map.

use icecore::format::map_node::{HIGHEST_LEVEL, MOST_BYTES, MapNode};

pub fn run(data: &[u8]) -> bool {
    let Ok(node) = MapNode::decode(data) else { return false };
    assert!(node.level <= HIGHEST_LEVEL && data.len() <= MOST_BYTES);
    assert_eq!(node.encode(), data, "a node has one stored form");
    true
}

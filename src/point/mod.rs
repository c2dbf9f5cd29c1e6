//! Recovery points: disk maps, manifests, the catalog.

mod catalog;
mod disk_map;
mod entries;
mod heads;
pub(crate) mod hold;
mod manifest;
mod map_builder;
mod scrub;
mod streams;
pub(crate) mod vault_chain;

pub(crate) use catalog::{Allows, point_name, point_of};
pub use catalog::{Catalog, Forgotten, PointInfo, Until};
pub use disk_map::{DiskMap, Extent};
pub(crate) use entries::{sequences, stored as stored_entry};
pub(crate) use heads::setbacks;
pub use heads::{ChainHead, Found, Heads, MOST_HEADS_BYTES, Setback};
pub use manifest::{ByteRange, Manifest, ManifestDisk, Quiesced, ReadFrom, Scripts};
pub use map_builder::MapBuilder;
pub(crate) use scrub::scrub;

pub use crate::format::catalog_entry::Consistency;

use crate::error::{Error, Result};
use crate::format::catalog_entry::MOST_NAME_BYTES;

/// Checks the name of a machine or a disk: it becomes a directory name in the tree.
pub fn check_name(what: &'static str, name: &str) -> Result<()> {
    let rule = if name.is_empty() {
        "it is empty"
    } else if name.len() > MOST_NAME_BYTES {
        "it is longer than 128 bytes"
    } else if name.contains('/') || name.chars().any(char::is_control) {
        "it may not hold \"/\" or control characters"
    } else if name.starts_with('.') {
        "it may not begin with a dot"
    } else if name == "latest" {
        "\"latest\" stands for the newest point"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { what, value: name.to_owned(), rule })
}

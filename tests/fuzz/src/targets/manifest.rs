//! Manifests, and the disks that they tell of.

use std::sync::Arc;

use icecore::point::{DiskMap, Manifest};
use icecore::store::Reader;

use super::store;

pub fn run(data: &[u8]) -> bool {
    let Ok(manifest) = Manifest::decode(data, "manifest") else { return false };
    // Not the same bytes: JSON has many forms of one value, and members that are unknown are ignored.
    let stored = manifest.encode();
    let again = Manifest::decode(&stored, "manifest").expect("what is encoded decodes");
    assert_eq!(again, manifest);
    assert_eq!(again.encode(), stored, "what this program writes has one form");
    let reader = store::reader(&Arc::default());
    let maps: Vec<DiskMap> = manifest.disks.iter().take(4).filter_map(|disk| open(&reader, disk)).collect();
    for pair in maps.windows(2) {
        let _ = pair[0].diff(&pair[1]);
    }
    true
}

fn open(reader: &Arc<Reader>, disk: &icecore::point::ManifestDisk) -> Option<DiskMap> {
    let map = DiskMap::open(Arc::clone(reader), disk).ok()?;
    store::look_at(&map);
    Some(map)
}

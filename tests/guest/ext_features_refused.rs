//! Promise 2: a file system with features that are not known here is refused by name, not misread.

use std::sync::Arc;

use crate::guest_support::{MemoryDisk, image};
use icecore::guest::{Content, Error, Feature, Probe, probe};

fn with_incompat(bits: u32) -> Result<Probe, Error> {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("image");
    image::make(&path, "4M", &["-t", "ext4", "-O", "^metadata_csum"], None);
    let mut bytes = std::fs::read(path).expect("the image");
    let field = &mut bytes[1024 + 0x60..][..4];
    let old = u32::from_le_bytes(field.try_into().expect("four bytes"));
    field.copy_from_slice(&(old | bits).to_le_bytes());
    probe(Arc::new(MemoryDisk(bytes)))
}

fn refused(bits: u32) -> Feature {
    match with_incompat(bits) {
        Err(Error::Unsupported(feature)) => feature,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{bits:#x} was not refused"),
    }
}

#[test]
fn unknown_features_are_refused_by_name() {
    assert_eq!(refused(0x1), Feature::Ext("compression"));
    assert_eq!(refused(0x1000), Feature::Ext("dirdata"));
    assert_eq!(refused(0x8000_0000), Feature::ExtIncompatBits(0x8000_0000));
}

#[test]
fn a_journal_device_is_named() {
    assert!(matches!(with_incompat(0x8), Ok(Probe::Other(Content::ExtJournal))));
}

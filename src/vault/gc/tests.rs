//! What only shows between the steps of a backup.

use crate::backup::{BackupRequest, ChangedSince, Progress};
use crate::point::{ByteRange, Consistency};
use crate::quiesce::Achieved;
use crate::seal::{Credential, PasswordCost};
use crate::source::Source;
use crate::vault::{GcOptions, GcProgress, InitOptions, OpenOptions, SoftDelete, Vault};

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = self.0.get(usize::try_from(offset).expect("small")..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

// Promise 1: once everything is read, the point is still to be made; what it takes from its base stays until then.
#[test]
fn the_base_of_a_backup_is_held_until_its_point_is_made() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("vault");
    let password = Credential::password(*b"a password");
    let cheap = PasswordCost { passes: 1, memory_kib: 8, lanes: 1 };
    let options =
        InitOptions { chunk_bytes: 4096, segment_bytes: 1 << 20, password_cost: cheap, ..InitOptions::default() };
    let vault = Vault::init(&path, &password, &options).expect("a vault");
    vault.set_soft_delete(SoftDelete { grace_seconds: 0, ..SoftDelete::default() }).expect("set");
    let mut bytes: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let progress = Progress::default();
    let base =
        vault.backup(&BackupRequest::new("web").disk("os", Bytes(bytes.clone())), &progress).expect("a point").point;
    bytes[..100].fill(1);
    let changed = ChangedSince { point: base.id.clone(), ranges: vec![ByteRange { start: 0, end: 100 }] };
    let request = BackupRequest::new("web").disk("os", Bytes(bytes.clone())).changed(changed);
    let read = || {
        let other = Vault::open(&path, &password, &OpenOptions::default()).expect("open");
        other.forget(&base, "", true).expect("forgotten");
        let collected = other.gc(&GcOptions::default(), &GcProgress::default()).expect("gc");
        assert_eq!((collected.purged.len(), collected.in_use.len()), (0, 1), "{collected:?}");
        Ok(Achieved { consistency: Consistency::Crash, quiesced: None })
    };
    let point = vault.backup_read(&request, &Progress::default(), read).expect("a point").point;
    let vault = Vault::open(&path, &password, &OpenOptions::default()).expect("open");
    assert_eq!(vault.gc(&GcOptions::default(), &GcProgress::default()).expect("gc").purged.len(), 1);
    let (disk, mut found) = (vault.disk(&point, "os").expect("a disk"), Vec::new());
    let mut piece = vec![0; 1 << 20];
    while found.len() < bytes.len() {
        let length = disk.read(found.len() as u64, &mut piece).expect("read");
        found.extend_from_slice(&piece[..length]);
    }
    assert!(found == bytes);
}

//! Promise 6, and section 5 "Holes never cost a read": where a disk holds data is told right, and a question about a few
//! chunks reads no more of a large map than the way to them.

use icecore::Vault;
use icecore::meter::Stage;
use icecore::point::DiskMap;

use crate::common;
use crate::common::Random;

const CHUNK_BYTES: u64 = 4096;

/// Some forty nodes of the lowest level.
const CHUNKS: u64 = 5000;

fn disk_of(vault: &Vault, bytes: &[u8]) -> DiskMap {
    let report = common::backup_bytes(vault, "m", &[("os", bytes)]).expect("backup");
    vault.disk(&report.point, "os").expect("disk")
}

#[test]
fn data_and_holes_are_where_they_are() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let mut random = Random(1);
    // The last chunk is a short one.
    let mut bytes = vec![0; (CHUNKS * CHUNK_BYTES - 100) as usize];
    let mut present = vec![false; CHUNKS as usize];
    let mut at = 0;
    while at < CHUNKS {
        let (run, data) = (1 + random.below(200), random.below(2) == 0);
        for chunk in at..(at + run).min(CHUNKS) {
            bytes[(chunk * CHUNK_BYTES) as usize] = u8::from(data);
            present[chunk as usize] = data;
        }
        at += run;
    }
    let disk = disk_of(&vault, &bytes);
    let length = bytes.len() as u64;
    let is_data = |byte: u64| present[(byte / CHUNK_BYTES) as usize];
    for _ in 0..300 {
        let start = random.below(length);
        let end = (start + random.below(50 * CHUNK_BYTES)).min(length);
        let expected = (start..end).filter(|byte| is_data(*byte)).count() as u64;
        assert_eq!(disk.data_bytes(start, end).expect("a number"), expected, "from {start} to {end}");
        for data in [true, false] {
            let next = (start..length).find(|byte| is_data(*byte) == data);
            let expected = if data { next } else { next.or(Some(length)) };
            assert_eq!(disk.seek(start, data).expect("a place"), expected, "from {start}, data {data}");
        }
        let extent = disk.extent(start).expect("an extent").expect("before the end");
        assert_eq!(extent.data, is_data(start));
        assert_eq!(Some(extent.end), disk.seek(start, !extent.data).expect("a place").or(Some(length)));
    }
    assert_eq!(disk.data_bytes(0, length).expect("a number"), length - disk.zero_bytes());
    assert_eq!((disk.seek(length, true).expect("none"), disk.seek(length, false).expect("none")), (None, None));
}

#[test]
fn a_question_about_a_chunk_reads_the_way_to_it_and_no_more() {
    let folder = common::scratch();
    let path = folder.path().join("vault");
    let bytes = common::noise(1, (CHUNKS * CHUNK_BYTES) as usize);
    let made = disk_of(&common::init(&path, &common::small()), &bytes);
    let (chunks, middle) = (made.chunks(), CHUNKS / 2 * CHUNK_BYTES);
    assert_eq!(chunks, CHUNKS);
    type Question<'a> = &'a dyn Fn(&DiskMap);
    let questions: [(&str, Question<'_>); 3] = [
        ("is there data", &|disk| assert_eq!(disk.seek(middle, true).expect("a place"), Some(middle))),
        ("how much of a chunk is data", &|disk| {
            assert_eq!(disk.data_bytes(middle, middle + CHUNK_BYTES).expect("a number"), CHUNK_BYTES);
        }),
        ("which chunk is it", &|disk| assert!(disk.chunk_id(CHUNKS / 2).expect("an id").is_some())),
    ];
    for (what, question) in questions {
        let vault = common::open(&path);
        let disk = vault.disk(&vault.point("m", "latest").expect("point"), "os").expect("disk");
        vault.meter().start();
        question(&disk);
        let fetched = vault
            .meter()
            .stop()
            .iter()
            .filter(|stage| stage.stage == Stage::Fetch)
            .map(|stage| stage.calls)
            .sum::<u64>();
        assert_eq!(fetched, 2, "{what}: a map of this size has two levels");
    }
}

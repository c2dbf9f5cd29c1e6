//! Promise 5: logical volumes read as device-mapper would give them, or are named with the reason why not; nothing that
//! stands in their metadata costs more than the metadata's size.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest_support;
use crate::guest_support::lvm::content;
use crate::guest_support::physical::*;
use icecore::guest::lvm::{Assembly, LogicalVolume, Problem};
use icecore::guest::{BlockRead, Error};

fn named<'a>(assembly: &'a Assembly, name: &str) -> &'a LogicalVolume {
    assembly.volumes.iter().find(|volume| volume.name() == name).unwrap_or_else(|| panic!("{name}"))
}

fn bytes(assembly: &Assembly, name: &str) -> Vec<u8> {
    content(named(assembly, name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn problem(assembly: &Assembly, name: &str) -> Problem {
    match named(assembly, name).open() {
        Err(Error::LogicalVolume(problem)) => problem,
        Err(error) => panic!("{name}: {error}"),
        Ok(_) => panic!("{name} can be read"),
    }
}

fn is_damaged(problem: &Problem) -> bool {
    matches!(problem, Problem::Metadata { .. })
}

#[test]
fn segments_in_any_order_on_several_disks() {
    let stripes = "start_extent = 0 extent_count = 4 type = \"striped\" stripe_count = 2 stripe_size = 64 \
                   stripes = [\"pv0\", 0, \"pv1\", 5]";
    let root = volume("root", true, &[&linear(2, 1, "pv0", 9), &linear(0, 2, "pv1", 3)]);
    let disks = pair(&group("vg", 1, "ab", &[root, volume("fast", true, &[stripes])]));
    let volumes = found(&disks);
    assert_eq!(volumes.volumes.iter().map(|volume| volume.name()).collect::<Vec<_>>(), ["fast", "root"]);
    let [a, b] = &disks;
    assert!(bytes(&volumes, "root") == [extent(b, 3), extent(b, 4), extent(a, 9)].concat());
    assert_eq!((named(&volumes, "fast").home(), named(&volumes, "root").home()), (0, 1));
    let mut fast = Vec::new();
    for stripe in 0..4 {
        for (disk, first) in [(a, 0), (b, 5)] {
            fast.extend_from_slice(&disk[DATA_AT + first * EXTENT + stripe * (32 << 10)..][..32 << 10]);
        }
    }
    assert!(bytes(&volumes, "fast") == fast);
}

#[test]
fn what_cannot_be_read_is_named_and_hides_nothing() {
    let segment = |text: &str| vec![volume("bad", true, &[&format!("start_extent = 0 extent_count = 1 {text}")])];
    let on = |at: &str| segment(&format!("type = \"striped\" stripe_count = 1 stripes = [{at}]"));
    let layout = |name: &'static str| move |problem: &Problem| *problem == Problem::Layout { layout: name.to_owned() };
    let parts = |name: &str, on: &str| volume(name, true, &[&linear(0, 1, on, 0)]);
    let chain: Vec<String> = (0..20).map(|at| parts(&format!("bad{at}"), &format!("bad{}", at + 1))).collect();
    type Check<'a> = &'a dyn Fn(&Problem) -> bool;
    let cases: [(Vec<String>, &str, Check<'_>); 16] = [
        (segment("type = \"cache\" cache_pool = \"pool\" origin = \"good\""), "bad", &layout("cache")),
        (segment("type = \"writecache\" origin = \"good\""), "bad", &layout("writecache")),
        (segment("type = \"vdo\" vdo_pool = \"pool\""), "bad", &layout("vdo")),
        (segment("type = \"integrity\" origin = \"good\""), "bad", &layout("integrity")),
        (segment("type = \"striped+NEW\" stripe_count = 1 stripes = [\"pv0\", 0]"), "bad", &layout("striped+NEW")),
        (segment("type = \"x\ny\""), "bad", &layout("unknown")),
        (on("\"pv9\", 0"), "bad", &is_damaged),
        (on("\"pv0\", 16"), "bad", &is_damaged),
        (on("\"pv0\", -1"), "bad", &is_damaged),
        (on("\"pv0\", 0, \"pv1\", 0"), "bad", &is_damaged),
        (vec![volume("bad", true, &[&linear(1, 1, "pv0", 0)])], "bad", &is_damaged),
        (vec![volume("bad", true, &[&linear(0, 0, "pv0", 0)])], "bad", &is_damaged),
        (vec![volume("bad", true, &[&linear(0, u32::MAX, "pv0", 0)])], "bad", &is_damaged),
        (vec![volume("bad", true, &[])], "bad", &is_damaged),
        // Made of each other; and deeper than any that LVM2 makes.
        (vec![parts("bad", "loop"), parts("loop", "bad")], "bad", &is_damaged),
        ([chain, vec![parts("bad20", "good")]].concat(), "bad0", &is_damaged),
    ];
    for (bad, name, is_expected) in cases {
        let disks = pair(&group("vg", 1, "ab", &[bad.concat(), one("good", true, "pv0", 0)]));
        let volumes = found(&disks);
        let problem = problem(&volumes, name);
        assert!(is_expected(&problem), "{bad:?}: {problem}");
        assert!(bytes(&volumes, "good") == extent(&disks[0], 0));
    }
}

#[test]
fn names_that_lvm_would_not_give_are_left_out() {
    let bad = ["-lead", "..", ".", &"n".repeat(128)].map(|name| one(name, true, "pv0", 1));
    let volumes = found(&pair(&group("vg", 1, "ab", &[bad.concat(), one("good", true, "pv0", 0)])));
    assert_eq!(volumes.volumes.iter().map(|volume| volume.name()).collect::<Vec<_>>(), ["good"]);
    assert!(volumes.problems[0].what.contains("4 volumes"), "{:?}", volumes.problems);
    // One that can't even stand in such a text makes it none.
    let volumes = found(&pair(&group("vg", 1, "ab", &[one("a/b", true, "pv0", 0)])));
    assert!(volumes.volumes.is_empty() && !volumes.problems.is_empty() && volumes.orphans.len() == 2);
    let volumes = found(&pair(&group("..", 1, "ab", &[one("good", true, "pv0", 0)])));
    assert!(volumes.volumes.is_empty() && !volumes.problems.is_empty());
}

#[test]
fn volumes_made_of_volumes_many_times_are_made_once() {
    // Seven floors of 256 parts each, every part the floor below: 2^56 ways through a few KB of metadata.
    let mut volumes = vec![one("floor0", false, "pv0", 3)];
    for floor in 1..7_u32 {
        let below = format!("\"floor{}\", 0, ", floor - 1).repeat(256);
        let many = format!(
            "start_extent = 0 extent_count = {} type = \"striped\" stripe_count = 256 stripe_size = 1 stripes = [{below}]",
            256_u64
        );
        volumes.push(volume(&format!("floor{floor}"), floor == 6, &[&many]));
    }
    let disks = pair(&group("vg", 1, "ab", &volumes));
    let start = Instant::now();
    let assembly = found(&disks);
    let top = named(&assembly, "floor6").open().expect("a volume").device;
    let mut read = vec![0; 1 << 20];
    top.read_exact_at(top.size_bytes() - read.len() as u64, &mut read).expect("a read");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // And ten thousand volumes on one that is large, none of which opens it again.
    let large: Vec<String> = (0..4000).map(|at| linear(at, 1, "pv0", at % 16)).collect();
    let mut volumes = vec![volume("large", false, &large.iter().map(String::as_str).collect::<Vec<_>>())];
    volumes.extend((0..2000).map(|at| one(&format!("v{at}"), true, "large", at)));
    let disks = pair(&group("vg", 1, "ab", &volumes));
    let start = Instant::now();
    for volume in &found(&disks).volumes {
        volume.open().expect("a volume");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_clone_of_a_disk_is_never_mixed_with_it() {
    let root = || one("root", true, "pv0", 2);
    let mut disks = pair(&group(
        "vg",
        1,
        "ab",
        &[root(), volume("wide", true, &[&linear(0, 1, "pv1", 1), &linear(1, 1, "pv0", 1)])],
    ));
    // A group of one disk: original and clone, which went different ways since, are groups of their own.
    let alone = |seqno, noise| {
        let mut disk = physical(&id('c'), &group("vg", seqno, "c", &[root()]), 0);
        disk[DATA_AT..].copy_from_slice(&guest_support::source::noise(noise, EXTENTS * EXTENT));
        disk
    };
    let (original, clone) = (alone(5, 77), alone(9, 78));
    for disks in [[original.clone(), clone.clone()], [clone.clone(), original.clone()]] {
        let volumes = found(&disks);
        assert_eq!(volumes.volumes.len(), 2);
        for volume in &volumes.volumes {
            assert!(content(volume).expect("read") == extent(&disks[volume.home()], 2));
        }
    }
    // A group of two disks, and a clone of one of them: nothing tells which belongs to the other.
    let mut clone = disks[0].clone();
    clone[DATA_AT..].copy_from_slice(&guest_support::source::noise(99, EXTENTS * EXTENT));
    let mixed = [disks[0].clone(), disks[1].clone(), clone];
    let volumes = found(&mixed);
    assert!(matches!(problem(&volumes, "root"), Problem::Ambiguous { places, .. } if *places == *"disk 0, disk 2"));
    assert!(matches!(problem(&volumes, "wide"), Problem::Ambiguous { .. }));
    // Two groups of one name have nothing to do with each other.
    let other = group("vg", 1, "c", &[root()]).replace(&id('g'), &id('h'));
    let mut third = physical(&id('c'), &other, 0);
    third[DATA_AT..].copy_from_slice(&guest_support::source::noise(55, EXTENTS * EXTENT));
    let all = [std::mem::take(&mut disks[0]), std::mem::take(&mut disks[1]), third];
    let volumes = found(&all);
    assert_eq!(volumes.volumes.iter().filter(|volume| volume.name() == "root").count(), 2);
    for volume in volumes.volumes.iter().filter(|volume| volume.name() == "root") {
        assert!(content(volume).expect("read") == extent(&all[volume.home()], 2));
    }
}

/// A RAID 1 on the extents 1 of two disks, with what the driver remembers in their extents 0.
fn mirror() -> [Vec<u8>; 2] {
    let raid = "start_extent = 0 extent_count = 1 type = \"raid1\" device_count = 2 region_size = 1024 \
                raids = [\"m_rmeta_0\", \"m_rimage_0\", \"m_rmeta_1\", \"m_rimage_1\"]";
    let mut disks = pair(&group(
        "vg",
        1,
        "ab",
        &[
            volume("m", true, &[raid]),
            one("m_rmeta_0", false, "pv0", 0),
            one("m_rimage_0", false, "pv0", 1),
            one("m_rmeta_1", false, "pv1", 0),
            one("m_rimage_1", false, "pv1", 1),
        ],
    ));
    for disk in &mut disks {
        disk[DATA_AT..DATA_AT + EXTENT].fill(0);
    }
    disks
}

/// What the driver remembers: changes, failed parts, up to which sector this one was rebuilt.
fn remember(disks: &mut [Vec<u8>; 2], number: usize, events: u64, failed: u64, rebuilt: u64) {
    let memory = &mut disks[number][DATA_AT..];
    memory[..4].copy_from_slice(b"DmRd");
    memory[12] = number as u8;
    for (at, value) in [(16, events), (24, failed), (32, rebuilt)] {
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

#[test]
fn of_a_mirror_only_a_copy_that_is_known_to_be_whole() {
    const WHOLE: u64 = u64::MAX;
    // What each of both remembers, and which one is read.
    type Memory = Option<(u64, u64, u64)>;
    let cases: [([Memory; 2], usize); 6] = [
        ([None, None], 0),
        ([Some((7, 0, WHOLE)), Some((7, 0, WHOLE))], 0),
        ([Some((7, 0, WHOLE)), Some((8, 1, WHOLE))], 1),
        ([Some((8, 2, WHOLE)), Some((7, 0, WHOLE))], 0),
        ([Some((7, 0, 100)), Some((7, 0, WHOLE))], 1),
        ([None, Some((7, 0, WHOLE))], 1),
    ];
    for (memories, expected) in cases {
        let mut disks = mirror();
        for (number, memory) in memories.into_iter().enumerate() {
            if let Some((events, failed, rebuilt)) = memory {
                remember(&mut disks, number, events, failed, rebuilt);
            }
        }
        let volumes = found(&disks);
        let opened = named(&volumes, "m").open().expect("a copy");
        assert_eq!(opened.caution, None, "{memories:?}");
        assert!(bytes(&volumes, "m") == extent(&disks[expected], 1), "{memories:?}");
    }
    // None is whole.
    let mut disks = mirror();
    remember(&mut disks, 0, 7, 0, 100);
    remember(&mut disks, 1, 7, 2, WHOLE);
    assert!(matches!(problem(&found(&disks), "m"), Problem::NoCopy { .. }));
}

#[test]
fn a_copy_whose_like_cannot_be_seen_is_not_shown_as_whole() {
    let mut disks = mirror();
    remember(&mut disks, 0, 7, 0, u64::MAX);
    remember(&mut disks, 1, 8, 1, u64::MAX);
    // The first copy is behind, as the second one remembers. Without the second disk, or while its memory can't be read, it
    // is shown with a caution; a copy without any memory of its own is not shown then.
    let whole = |bytes: &[u8]| Arc::new(Torn { bytes: bytes.to_vec(), torn: 0..0 }) as Arc<dyn BlockRead>;
    let memory = DATA_AT..DATA_AT + 512;
    let torn = |bytes: &[u8]| Arc::new(Torn { bytes: bytes.to_vec(), torn: memory.clone() }) as Arc<dyn BlockRead>;
    for others in [vec![], vec![torn(&disks[1])]] {
        let disks_here: Vec<_> = [whole(&disks[0])].into_iter().chain(others).collect();
        let is_torn = disks_here.len() > 1;
        let volumes = found_on(&disks_here);
        let opened = named(&volumes, "m").open().expect("a copy");
        assert!(opened.caution.is_some());
        assert_eq!(volumes.has_unread(), is_torn, "what can't be read now may be read later");
        assert!(bytes(&volumes, "m") == extent(&disks[0], 1));
    }
    let mut disks = mirror();
    remember(&mut disks, 1, 8, 1, u64::MAX);
    let volumes = found_on(&[whole(&disks[0]), torn(&disks[1])]);
    assert!(matches!(problem(&volumes, "m"), Problem::NoCopy { .. }));
    assert!(matches!(problem(&found(&disks[..1]), "m"), Problem::NoCopy { .. }));
    // What stands there is no record of the driver's.
    disks[1][DATA_AT..DATA_AT + 512].fill(0x5A);
    assert!(matches!(problem(&found(&disks), "m"), Problem::NoCopy { .. }));
}

#[test]
fn of_an_old_mirror_another_copy_only_when_its_log_says_that_all_are_the_same() {
    let text = "start_extent = 0 extent_count = 1 type = \"mirror\" mirror_count = 2 mirror_log = \"m_mlog\" \
                mirrors = [\"m_0\", 0, \"m_1\", 0]";
    let mut disks = pair(&group(
        "vg",
        1,
        "ab",
        &[
            volume("m", true, &[text]),
            one("m_0", false, "pv0", 1),
            one("m_1", false, "pv1", 1),
            one("m_mlog", false, "pv1", 0),
        ],
    ));
    assert!(bytes(&found(&disks), "m") == extent(&disks[0], 1));
    let alone = |disks: &[Vec<u8>; 2]| found(&disks[1..]);
    assert!(matches!(problem(&alone(&disks), "m"), Problem::Missing { .. }));
    let log = &mut disks[1][DATA_AT..];
    log[..16].copy_from_slice(&[0x72, 0x52, 0x69, 0x4D, 2, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0]);
    log[1024..1026].copy_from_slice(&[0xFF, 0x07]);
    assert!(bytes(&alone(&disks), "m") == extent(&disks[1], 1));
    disks[1][DATA_AT + 1025] = 0x03;
    assert!(matches!(problem(&alone(&disks), "m"), Problem::Missing { .. }));
}

#[test]
fn the_newest_whole_copy_of_the_metadata_counts() {
    let (old, new) =
        (group("vg", 4, "ab", &[one("before", true, "pv0", 0)]), group("vg", 5, "ab", &[one("after", true, "pv0", 0)]));
    let disks = [physical(&id('a'), &old, 0), physical(&id('b'), &new, AREA_BYTES - 512 - 100)];
    assert_eq!(found(&disks).volumes[0].name(), "after");
    // A copy whose checksum is wrong, or which can't be read, is told, and the other one counts.
    let mut damaged = disks.clone();
    damaged[1][AREA_AT + 512 + 10] ^= 1;
    let volumes = found(&damaged);
    assert_eq!((volumes.volumes[0].name(), volumes.problems.len(), volumes.has_unread()), ("before", 1, false));
    let torn = |at: usize| {
        let torn = Torn { bytes: disks[1].clone(), torn: at..at + 1 };
        found_on(&[Arc::new(guest_support::MemoryDisk(disks[0].clone())), Arc::new(torn)])
    };
    let volumes = torn(AREA_AT);
    assert_eq!((volumes.volumes[0].name(), volumes.problems.len(), volumes.has_unread()), ("before", 1, true));
    // Damage in the data of one volume is no matter for the others.
    let volumes = torn(DATA_AT + 5 * EXTENT);
    assert_eq!((volumes.volumes[0].name(), volumes.problems.len(), volumes.has_unread()), ("after", 0, false));
    // Two states of the same age that differ: neither is believed.
    let other = group("vg", 5, "ab", &[one("after", true, "pv0", 1)]);
    let split = found(&[physical(&id('a'), &other, 0), disks[1].clone()]);
    assert_eq!(problem(&split, "after"), Problem::Split { seqno: 5 });
}

#[test]
fn a_disk_that_is_not_there_costs_only_what_lies_on_it() {
    let text = group("vg", 1, "ab", &[one("here", true, "pv0", 0), one("there", true, "pv1", 0)]);
    let disks = pair(&text);
    let volumes = found(&disks[..1]);
    assert!(bytes(&volumes, "here") == extent(&disks[0], 0));
    let problem = problem(&volumes, "there");
    assert!(problem.to_string().contains(&id('b')), "{problem}");
    // One that the guest itself had given up may hold what is long out of date.
    let marked = text.replacen("pe_start", "flags = [\"MISSING\"] pe_start", 1);
    let volumes = found(&pair(&marked));
    assert!(matches!(self::problem(&volumes, "here"), Problem::MarkedMissing { .. }));
    assert!(bytes(&volumes, "there") == extent(&disks[1], 0));
}

#[test]
fn a_label_that_is_larger_than_what_it_lies_on_is_refused() {
    // The first disk of an array of several: what lies on it is not where its group says.
    let [mut a, _] = pair(&group("vg", 1, "ab", &[one("root", true, "pv0", 0)]));
    let size = a.len() as u64;
    for (size, is_refused) in [(size, false), (size + 1, true)] {
        a[512 + 64..512 + 72].copy_from_slice(&size.to_le_bytes());
        put_checksums(&mut a);
        assert_eq!(found(&[a.clone()]).volumes.is_empty(), is_refused);
    }
}

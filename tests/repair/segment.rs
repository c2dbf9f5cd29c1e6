//! Promise 3: a damaged segment is made whole again byte for byte from a copy, with and without a key.

use crate::common;
use crate::common::repair::{content, flip, make, write};
use icecore::format::segment::{HEADER_BYTES, RECORD_HEADER_BYTES, TRAILER_BYTES};

/// Where one byte of a segment of such a length is changed: everything that a segment is made of.
fn places(length: usize) -> [(&'static str, usize); 6] {
    [
        ("the header", 70),
        ("a record's header", HEADER_BYTES + 30),
        ("a payload", HEADER_BYTES + RECORD_HEADER_BYTES + 1000),
        ("a payload in the middle", length / 2),
        ("the table", length - TRAILER_BYTES - 40),
        ("the trailer", length - 50),
    ]
}

#[test]
fn whatever_of_it_is_damaged() {
    let made = make();
    for keyless in [false, true] {
        for kind in [1, 2] {
            let file = made.segments(kind).remove(0);
            let length = std::fs::read(&file).expect("segment").len();
            for (what, at) in places(length) {
                flip(&file, at);
                let before = content(&made.vault);
                let sources = made.copied();
                let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
                assert_eq!(content(&made.vault), before, "{what}: a plan changes nothing");
                let plan = repair.plan();
                let object = common::object(&made.vault, &file);
                let mended: Vec<(&str, bool)> =
                    plan.mended.iter().map(|one| (one.object.as_str(), one.is_absent)).collect();
                assert_eq!(mended, [(object.as_str(), false)], "{what}");
                assert!(plan.mended[0].foreign_bytes < plan.mended[0].bytes, "{what}: the rest is its own");
                assert!(!plan.damage.is_empty() && plan.ends_whole(), "{what}");
                assert!(plan.lost.is_empty() && plan.records == 0, "{what}: {:?}", plan.lost);
                let report = write(&repair);
                assert_eq!((report.mended, report.failures.len()), (1, 0), "{what}");
                made.assert_as_copied();
            }
        }
    }
    made.assert_whole();
    assert!(common::verify(&common::open(&made.vault)).is_clean());
}

#[test]
fn from_two_copies_each_of_which_is_damaged_elsewhere() {
    for keyless in [false, true] {
        let made = make();
        let file = made.segments(1).remove(0);
        let whole = std::fs::read(&file).expect("segment");
        let second = made.folder.path().join("second");
        common::copy_folder(&made.copy, &second);
        // The vault lost a record, the first copy all that follows and the second all before.
        flip(&file, 100_000);
        std::fs::write(made.in_copy(&file), &whole[..whole.len() / 2]).expect("cut");
        let mut late = whole.clone();
        late[..whole.len() / 4].fill(0);
        std::fs::write(second.join(file.strip_prefix(&made.vault).expect("below")), late).expect("damage");
        flip(&file, whole.len() * 3 / 4);
        let sources = made.copied().copy(&second);
        let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
        assert_eq!(write(&repair).mended, 1);
        common::assert_same(&std::fs::read(&file).expect("mended"), &whole, "the segment");
        made.assert_whole();
    }
}

#[test]
fn one_that_is_gone_comes_back() {
    for keyless in [false, true] {
        let made = make();
        for kind in [1, 2] {
            std::fs::remove_file(made.segments(kind).remove(0)).expect("removed");
        }
        // Without a key nobody can tell whether they were removed because nothing needed them.
        let unasked = made.plan_keyless(made.copied()).expect("a plan");
        assert!(unasked.plan().mended.is_empty() && unasked.plan().only_elsewhere == 2);
        let sources = made.copied();
        let repair = if keyless { made.plan_keyless(sources.gone()) } else { made.plan(sources) }.expect("a plan");
        let plan = repair.plan();
        assert_eq!(plan.mended.iter().filter(|one| one.is_absent).count(), 2);
        assert_eq!((plan.copies[0].lacks, plan.copies[0].alone), (0, 2));
        assert_eq!(plan.regained.is_empty(), keyless, "only keys tell which ranges come back");
        assert_eq!(write(&repair).mended, 2);
        made.assert_as_copied();
        made.assert_whole();
        assert!(common::verify(&common::open(&made.vault)).is_clean());
    }
}

#[test]
fn what_a_check_took_out_of_the_index_is_in_it_again() {
    for keyless in [false, true] {
        let made = make();
        let file = made.segments(1).remove(0);
        flip(&file, 100_000);
        assert!(!common::verify(&common::open(&made.vault)).is_clean(), "the check takes the record out of the index");
        let sources = made.copied();
        let repair = if keyless { made.plan_keyless(sources) } else { made.plan(sources) }.expect("a plan");
        write(&repair);
        let vault = common::open(&made.vault);
        let (machine, id, bytes) = &made.points[1];
        let again = common::backup_bytes(&vault, machine, &[("os", bytes)]).expect("backup");
        assert_eq!(again.manifest.disks[0].new_bytes, 0, "{id}: nothing need be stored again");
    }
}

#[test]
fn a_reader_who_has_the_damaged_one_open_finds_the_new_one() {
    let made = make();
    let reader = common::open(&made.vault);
    let (machine, id, bytes) = &made.points[1];
    let point = reader.point(machine, id).expect("the point");
    let file = made.segments(1).remove(0);
    let length = std::fs::read(&file).expect("segment").len();
    // In place, as a medium does it: whoever has the file open sees that.
    let wrong = std::fs::OpenOptions::new().write(true).open(&file).expect("opened");
    std::os::unix::fs::FileExt::write_all_at(&wrong, &vec![0; length / 2], 300).expect("damage");
    let read = || {
        made.points.iter().all(|(machine, id, _)| {
            let point = reader.point(machine, id).expect("the point");
            common::disk_bytes(&reader, &point, "os").is_ok()
        })
    };
    assert!(!read(), "it is damaged");
    write(&made.plan(made.copied()).expect("a plan"));
    assert!(read(), "and whole again");
    common::assert_same(&common::disk_bytes(&reader, &point, "os").expect("it reads"), bytes, "the disk");
}

//! Promise 2: repairs run beside backups, readers and other repairs, and none gets in the way of another.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::common;
use crate::common::repair::{flip, make, write};
use icecore::vault::RepairSources;

#[test]
fn many_of_each() {
    let made = make();
    let reader = common::open(&made.vault);
    for file in made.segments(1) {
        flip(&file, 5000);
        flip(&file, 20_000);
    }
    std::fs::remove_file(made.segments(2).remove(0)).expect("removed");
    let (over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (made, reader, over, reads) = (&made, &reader, &over, &reads);
    let added = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            // Whoever reads meets the right bytes or an error, and in the end no error.
            while !over.load(Ordering::Acquire) {
                for (machine, id, bytes) in &made.points {
                    let point = reader.point(machine, id).expect("the point");
                    if let Ok(read) = common::disk_bytes(reader, &point, "os") {
                        common::assert_same(&read, bytes, machine);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        });
        let repairing: Vec<_> = (0..3)
            .map(|number| {
                scope.spawn(move || {
                    let sources = made.copied();
                    let repair = if number == 0 { made.plan_keyless(sources) } else { made.plan(sources) };
                    let report = write(&repair.expect("a plan"));
                    assert!(report.failures.is_empty(), "{:?}", report.failures);
                })
            })
            .collect();
        let backing_up: Vec<_> = (0..2)
            .map(|number| {
                scope.spawn(move || {
                    let mut added = Vec::new();
                    for round in 0..3 {
                        let bytes = common::noise(100 + 10 * number + round, 300_000);
                        let vault = common::open(&made.vault);
                        let report = common::backup_bytes(&vault, "beside", &[("os", &bytes)]).expect("backup");
                        added.push((report.point.id.clone(), bytes));
                    }
                    added
                })
            })
            .collect();
        repairing.into_iter().for_each(|repair| repair.join().expect("a repair"));
        let added: Vec<_> = backing_up.into_iter().flat_map(|backup| backup.join().expect("a backup")).collect();
        over.store(true, Ordering::Release);
        reading.join().expect("a reader");
        added
    });
    made.assert_whole();
    for (machine, id, bytes) in &made.points {
        let point = reader.point(machine, id).expect("the point");
        common::assert_same(
            &common::disk_bytes(reader, &point, "os").expect("it was open all the time"),
            bytes,
            machine,
        );
    }
    let vault = common::open(&made.vault);
    for (id, bytes) in added {
        let point = vault.point("beside", &id).expect("the point");
        common::assert_same(&common::disk_bytes(&vault, &point, "os").expect("it reads"), &bytes, "beside");
    }
    assert!(common::verify(&vault).is_clean());
    assert!(!made.plan(RepairSources::default()).expect("a plan").plan().has_work());
}

//! Promise 1: a program that has a machine hold still for a backup gets told what was run for it, whatever came of the backup.

use std::time::Duration;

use crate::common;
use icecore::Error;
use icecore::backup::{BackupRequest, Progress};
use icecore::error::ErrorKind;
use icecore::point::{Consistency, ReadFrom, Scripts};
use icecore::quiesce::{DiskImage, Phase, Quiesce, QuiescedBackup, ScriptFailure};

fn script(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_program_gets_the_point_and_what_was_run() {
    let folder = common::scratch();
    let vault = common::init(&folder.path().join("vault"), &common::small());
    let path = folder.path().join("os.raw");
    std::fs::write(&path, common::noise(1, 50_000)).expect("written");
    let images = [DiskImage::new("os", &path)];
    let backup = |quiesce: &Quiesce, progress: &Progress| {
        vault.backup_quiesced(BackupRequest::new("m"), &images, quiesce, progress)
    };

    // Nothing to do is a backup as any other.
    let QuiescedBackup { outcome, runs } = backup(&Quiesce::default(), &Progress::default());
    let manifest = outcome.expect("a point").manifest;
    assert_eq!((manifest.consistency, manifest.quiesced, runs.len()), (Consistency::Crash, None, 0));

    let quiesce = Quiesce {
        pre_script: script("echo ready"),
        post_script: script("echo $ICECORE_RESULT; test $ICECORE_MACHINE = m"),
        timeout: Duration::from_secs(60),
        snapshot_command: script("[ $ICECORE_PHASE = release ] || echo os=$ICECORE_DISK_1_PATH"),
        ..Quiesce::default()
    };
    let QuiescedBackup { outcome, runs } = backup(&quiesce, &Progress::default());
    let manifest = outcome.expect("a point").manifest;
    let quiesced = manifest.quiesced.clone().expect("it is told");
    assert_eq!((quiesced.read, quiesced.scripts), (ReadFrom::Snapshot, Some(Scripts::Succeeded)));
    assert_eq!(manifest.consistency, Consistency::Application);
    // The moment of the snapshot, before the backup as such began.
    assert!(manifest.time.as_second() <= manifest.started.as_second());
    let told: Vec<_> = runs.iter().map(|run| (run.phase, run.failure.is_none(), run.output.as_str())).collect();
    let expected = [(Phase::Pre, "ready"), (Phase::Snapshot, ""), (Phase::Post, "ok"), (Phase::Release, "")];
    assert_eq!(told, expected.map(|(phase, output)| (phase, true, output)));

    // One that fails is the error, and among what was run.
    let failing = Quiesce { pre_script: script("exit 1"), ..quiesce.clone() };
    let QuiescedBackup { outcome, runs } = backup(&failing, &Progress::default());
    let error = outcome.expect_err("no point");
    assert!(matches!(error, Error::Script { phase: Phase::Pre, failure: ScriptFailure::Ended(_), .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Script);
    assert_eq!(runs.iter().map(|run| run.phase).collect::<Vec<_>>(), [Phase::Pre, Phase::Post]);

    // What was to stop before it began runs nothing.
    let progress = Progress::default();
    progress.cancel();
    let QuiescedBackup { outcome, runs } = backup(&quiesce, &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)) && runs.is_empty());

    for nonsense in [
        Quiesce { pre_script: None, ..quiesce.clone() },
        Quiesce { pre_script: script("a\0b"), ..quiesce.clone() },
        Quiesce { snapshot_command: script("\n"), ..quiesce.clone() },
        Quiesce { timeout: Duration::MAX, ..quiesce.clone() },
        Quiesce { reflink: true, ..quiesce.clone() },
        Quiesce { snapshot_dir: Some(path.clone()), ..quiesce },
    ] {
        let QuiescedBackup { outcome, runs } = backup(&nonsense, &Progress::default());
        assert!(matches!(outcome, Err(Error::Invalid { .. })) && runs.is_empty(), "{nonsense:?}");
    }
    assert_eq!(vault.points("m").expect("points").len(), 2);
}

//! Restores a disk to a new file: `restore VAULT PASSWORD_FILE MACHINE POINT DISK TARGET`.

use std::path::Path;

use icecore::restore::{Progress, RestoreOptions};

mod support;

fn main() -> support::Outcome {
    let (vault, arguments) = support::open(&["MACHINE", "POINT", "DISK", "TARGET"])?;
    let [machine, point, disk, target] = &arguments[..] else { return Err("four arguments".into()) };
    let point = vault.point(machine, point)?;
    // Another thread could watch the progress, or cancel.
    let report = vault.restore(&point, disk, Path::new(target), &RestoreOptions::default(), &Progress::default())?;
    println!("{} bytes written in {:.1} s", report.written_bytes, report.seconds);
    Ok(())
}

//! Checks a whole vault and says which disks are hit: `verify VAULT PASSWORD_FILE`.

use icecore::vault::VerifyProgress;

mod support;

fn main() -> support::Outcome {
    let (vault, _) = support::open(&[])?;
    let report = vault.verify(&VerifyProgress::default())?;
    println!(
        "{} segments, {} records, {} points in {:.1} s",
        report.segments, report.records, report.points, report.seconds
    );
    for error in &report.damage {
        println!("{error}");
    }
    for hit in &report.hit {
        println!("{}/{} disk {}: bytes {}..{}", hit.machine, hit.point, hit.disk, hit.range.start, hit.range.end);
    }
    if report.is_clean() { Ok(()) } else { Err("the vault is damaged".into()) }
}

//! Backs up every machine that is due by its policy: `due VAULT PASSWORD_FILE`.

mod support;

use icecore::Error;
use icecore::backup::Progress;
use icecore::vault::{DueBackup, request_of};
use jiff::Timestamp;

fn main() -> support::Outcome {
    let (vault, _) = support::open(&[])?;
    let documents = vault.documents()?;
    for name in documents.machines() {
        let machine = documents.machine(name)?;
        let policy = match documents.policy_of(name) {
            Err(Error::Invalid { .. }) => continue,
            found => found?.1,
        };
        // Whoever has the claim asks again: another may have been faster.
        let Some(_claim) = vault.claim(name)? else { continue };
        vault.refresh()?;
        if vault.due(name, &policy, Timestamp::now())?.is_some() {
            let DueBackup { request, images, quiesce } = request_of(name, &machine, &policy)?;
            let report = vault.backup_quiesced(request, &images, &quiesce, &Progress::default()).outcome?;
            println!("{} {}", report.point.machine, report.point.name);
        }
    }
    Ok(())
}

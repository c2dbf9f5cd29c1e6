//! Backs up disks as a new recovery point: `backup VAULT PASSWORD_FILE MACHINE NAME=PATH...`. Makes the vault where
//! there is none.

use std::path::{Path, PathBuf};

use icecore::backup::{BackupRequest, Progress};
use icecore::seal::Credential;
use icecore::source::RawSource;
use icecore::vault::{InitOptions, OpenOptions};
use icecore::{Error, Vault};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(vault), Some(password), Some(machine)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: backup VAULT PASSWORD_FILE MACHINE NAME=PATH...".into());
    };
    let vault = PathBuf::from(vault);
    let credential = Credential::password(std::fs::read_to_string(password)?.trim_end_matches('\n'));
    let vault = match Vault::open(&vault, &credential, &OpenOptions::default()) {
        Err(Error::NoVault { path }) => Vault::init(&path, &credential, &InitOptions::default())?,
        opened => opened?,
    };
    let mut request = BackupRequest::new(machine);
    for disk in arguments {
        let (name, path) = disk.split_once('=').ok_or("a disk is NAME=PATH")?;
        request = request.disk(name, RawSource::open(Path::new(path))?);
    }
    // Another thread could watch the progress, or cancel.
    let report = vault.backup(&request, &Progress::default())?;
    println!(
        "{} {}: {} bytes added in {:.1} s",
        report.point.machine, report.point.name, report.added_bytes, report.seconds
    );
    Ok(())
}

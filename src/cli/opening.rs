//! From the options of every verb to an open vault.

use std::path::PathBuf;

use icecore::Vault;
use icecore::error::Error;
use icecore::format::{header, key_slot};
use icecore::store::parity::Correction;
use icecore::vault::OpenOptions;

use super::arguments::Global;
use super::problem::Problem;
use super::salvage::{self, Salvage};
use super::{output, secrets, seen, signals};

impl Global {
    /// Where the vault is.
    pub fn vault(&self) -> Result<PathBuf, Problem> {
        let given = self.vault.clone().filter(|path| !path.as_os_str().is_empty());
        given.ok_or_else(|| Problem::usage("no vault is named", "set ICECORE_VAULT or give --vault DIR"))
    }

    /// Where the vault is, if there is one: nobody should type a password for nothing.
    pub fn existing_vault(&self) -> Result<PathBuf, Problem> {
        let path = self.vault()?;
        match path.join(header::OBJECT).symlink_metadata() {
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
                    && !path.join(key_slot::FOLDER).is_dir() =>
            {
                Err(Error::NoVault { path }.into())
            }
            _ => Ok(path),
        }
    }

    /// Opens the vault. Whoever interrupts from then on ends the command at once.
    pub fn open(&self) -> Result<Vault, Problem> {
        self.open_to_read(Salvage::default())
    }

    /// The same, for verbs that may read what is left of a damaged vault.
    pub fn open_to_read(&self, salvage: Salvage) -> Result<Vault, Problem> {
        let vault = self.open_with_signals_as_they_are(salvage)?;
        signals::end_at_once().map_err(signals::refused)?;
        Ok(vault)
    }

    /// Opens the vault, for verbs that end cleanly when they are interrupted.
    pub fn open_with_signals_as_they_are(&self, salvage: Salvage) -> Result<Vault, Problem> {
        self.open_as(salvage, true)
    }

    /// The same for who tells all damage itself.
    pub fn open_to_check(&self, salvage: Salvage) -> Result<Vault, Problem> {
        self.open_as(salvage, false)
    }

    fn open_as(&self, salvage: Salvage, tells_damage: bool) -> Result<Vault, Problem> {
        let path = self.existing_vault()?;
        let credential = secrets::credential(self)?;
        let options =
            OpenOptions { read_mode: self.read_mode.into(), salvage: salvage.salvage, ..OpenOptions::default() };
        let vault = Vault::open(&path, &credential, &options)?;
        salvage::tell(&vault, self);
        let as_json = self.json;
        vault.on_correction(move |correction| output::notice(&corrected(correction), as_json));
        seen::look(&vault, self.json, tells_damage);
        Ok(vault)
    }
}

/// What a person should know of a segment that is read with the help of its parity.
pub fn corrected(correction: &Correction) -> String {
    format!("{} is damaged; what was read of it is right, corrected by parity; run `icecore repair`", correction.object)
}

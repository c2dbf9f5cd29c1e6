//! What the examples share: opening a vault named on the command line.

use std::path::Path;

use icecore::Vault;
use icecore::seal::Credential;
use icecore::vault::OpenOptions;

/// An example's result: any error ends it with a message.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Opens the vault of the first two arguments, VAULT and PASSWORD_FILE; returns the others, which must be `names`.
#[allow(dead_code, reason = "the examples that make vaults open them themselves")]
pub fn open(names: &[&str]) -> Result<(Vault, Vec<String>), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (vault, password) = (arguments.next(), arguments.next());
    let rest: Vec<String> = arguments.collect();
    let (Some(vault), Some(password), true) = (vault, password, rest.len() == names.len()) else {
        return Err(format!("usage: VAULT PASSWORD_FILE {}", names.join(" ")).into());
    };
    let credential = Credential::password(std::fs::read_to_string(password)?.trim_end_matches('\n'));
    Ok((Vault::open(Path::new(&vault), &credential, &OpenOptions::default())?, rest))
}

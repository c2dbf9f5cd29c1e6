//! Makes a vault that a password opens: `init VAULT PASSWORD_FILE`.

use std::path::PathBuf;

use icecore::Vault;
use icecore::seal::Credential;
use icecore::vault::InitOptions;

mod support;

fn main() -> support::Outcome {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(vault), Some(password)) = (arguments.next(), arguments.next()) else {
        return Err("usage: VAULT PASSWORD_FILE".into());
    };
    let credential = Credential::password(std::fs::read_to_string(password)?.trim_end_matches('\n'));
    // Chunk size, compression level and segment size are chosen here, for the vault's life.
    let vault = Vault::init(&vault, &credential, &InitOptions { level: 3, ..InitOptions::default() })?;
    println!("made a vault at {} with chunks of {} bytes", vault.location().display(), vault.header().chunk_bytes());
    Ok(())
}

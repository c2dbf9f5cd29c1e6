//! `icecore init`

use std::path::Path;

use clap::Args;
use icecore::Vault;
use icecore::error::Error;
use icecore::format::key_slot::Role;
use icecore::format::{header, hex};
use icecore::seal::RecoveryKey;
use icecore::vault::{InitOptions, NewSlot};
use serde_json::json;

use super::arguments::{ASK, Global};
use super::exit::Exit;
use super::problem::Problem;
use super::{human, key, output, recovery, secrets, signals, size};

const EXAMPLES: &str = "\
Examples:
  icecore --vault /srv/vault init
  icecore --vault /srv/vault init --recovery-key     # and print a key for the safe
  icecore --vault /srv/vault --password-file /root/pw init --chunk-size 64KiB --level 3
  icecore --vault /srv/vault init --parity 0     where the storage below mends itself, as a RAID that is scrubbed
  head -c 64 /dev/urandom > /root/key && icecore --vault /srv/vault --key-file /root/key init";

/// Make a vault
///
/// Makes a vault in a directory that is empty or not there yet. Its first key has the role `admin`. Chunk size, level
/// and parity stay as they are for the vault's whole life.
///
/// With --recovery-key a second key is made and printed, once, as 24 words and a QR code: for the safe, for the day when
/// password and key file are gone.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Size of chunks, the unit of deduplication: a power of two from 4KiB to 4MiB
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_chunk_size)]
    chunk_size: u32,
    /// zstd level, -7 to 22: higher is smaller and slower
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-7..=22))]
    level: i8,
    /// Parity for each segment, in percent of it, 0 to 20: what damages no more of it than that, as bad sectors do, is mended
    #[arg(long, value_name = "PERCENT", default_value = "5%", value_parser = parse_parity)]
    parity: u8,
    /// What people call the first key, as alice
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    label: String,
    /// Make a first key that this command wraps and --unwrap-command unwraps, see `icecore key add --help`
    #[arg(long, value_name = "COMMAND", value_hint = clap::ValueHint::CommandString)]
    wrap_command: Option<String>,
}

pub fn parse_parity(text: &str) -> Result<u8, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).parse().ok();
    percent.filter(|percent| header::PARITY_PERCENT.contains(percent)).ok_or_else(|| "write it as 0% to 20%".to_owned())
}

pub fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let bytes = u32::try_from(size::parse(text)?).ok();
    let usable = |bytes: &u32| bytes.is_power_of_two() && (4096..=4 << 20).contains(bytes);
    bytes.filter(usable).ok_or_else(|| "it must be a power of two from 4KiB to 4MiB".to_owned())
}

/// Makes the vault.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let path = global.vault()?;
    if path.join(header::OBJECT).exists() {
        return Err(Error::VaultExists { path }.into());
    }
    if global.recovery_key.as_ref().is_some_and(|file| file.as_os_str() != ASK) {
        return Err(Problem::usage("a new vault has no recovery key yet", "give --recovery-key without a file"));
    }
    let credential = secrets::new_credential(global, arguments.wrap_command.as_deref())?;
    signals::end_at_once().map_err(signals::refused)?;
    let options = InitOptions {
        chunk_bytes: arguments.chunk_size,
        level: arguments.level,
        label: arguments.label.clone(),
        parity_percent: arguments.parity,
        read_mode: global.read_mode.into(),
        ..InitOptions::default()
    };
    let vault = Vault::init(&path, &credential, &options)?;
    let id = hex(&vault.header().vault);
    let recovery = match global.recovery_key {
        Some(_) => Some(key::add_recovery(&vault, Role::Admin, "recovery")?),
        None => None,
    };
    let tell = || tell(global, &options, &path, &id, recovery.as_ref());
    match &recovery {
        Some((slot, _)) => key::printed_or_removed(&vault, slot, tell)?,
        None => tell()?,
    }
    Ok(Exit::Done)
}

fn tell(
    global: &Global,
    options: &InitOptions,
    path: &Path,
    id: &str,
    recovery: Option<&(NewSlot, RecoveryKey)>,
) -> Result<(), Problem> {
    if global.json {
        output::json(&json!({
            "message_type": "initialized",
            "id": id,
            "vault": path.to_string_lossy(),
            "chunk_bytes": options.chunk_bytes,
            "level": options.level,
            "recovery_key": recovery.map(|(slot, key)| json!({"id": slot.info.id, "words": key.words().as_str()})),
            "parity_percent": options.parity_percent,
        }))?;
    } else if !global.quiet {
        let path = human::escaped(path.as_os_str().as_encoded_bytes());
        output::line(&format!(
            "vault {} made at {path}: chunks of {}, zstd level {}, parity {} %",
            &id[..8],
            human::size(options.chunk_bytes.into()),
            options.level,
            options.parity_percent
        ))?;
        output::line(
            "Keep the password or key file in a second place: without it nobody can read the vault, and nobody can help.",
        )?;
    }
    if let Some((slot, key)) = recovery.filter(|_| !global.json) {
        let mut out = output::Output::open();
        recovery::print(&mut out, key, id, &slot.info.id)?;
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_powers_of_two_in_bounds() {
        let sizes = ["128KiB", "131072", "4K", "4MiB", "100K", "8M", "2K", "4294967296K"]
            .map(|text| parse_chunk_size(text).ok());
        let expected = [Some(131_072), Some(131_072), Some(4096), Some(4 << 20), None, None, None, None];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn parity_is_a_percentage_in_bounds() {
        let percents = ["0", "0%", "5", "20%", "21", "-1", "5%%", "", "%"].map(|text| parse_parity(text).ok());
        assert_eq!(percents, [Some(0), Some(0), Some(5), Some(20), None, None, None, None, None]);
    }
}

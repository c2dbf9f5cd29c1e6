//! `icecore key`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use icecore::format::key_slot::{Role, SlotKind};
use icecore::seal::{PasswordCost, SlotInfo};
use serde_json::{Value, json};

use super::arguments::Global;
use super::exit::Exit;
use super::output::{self, Output};
use super::problem::Problem;
use super::salvage::Salvage;
use super::{human, secrets, signals};

const EXAMPLES: &str = "\
Examples:
  icecore key list
  icecore key add --role backup --new-key-file /root/backup.key
  icecore key remove 4c1d09be11a2c3d4";

/// Manage what opens the vault
///
/// Lists, adds and removes what opens the vault. A key has a role: `backup` adds points and can't read any data, `restore`
/// reads everything too, `admin` manages keys as well.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the keys
    List,
    /// Add a password or a key file
    Add(Add),
    /// Remove a key; the last of role `admin` stays
    Remove {
        /// Its id, as `key list` shows it, or the first digits
        id: String,
    },
}

/// Adds a password or a key file: from one of the options, or asked for on a terminal.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  icecore key add --role backup --new-key-file /root/backup.key
  icecore key add --role restore")]
struct Add {
    /// What it may do
    #[arg(long, value_enum, value_name = "ROLE")]
    role: RoleName,
    /// Take the new password from this file's line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "new_key_file")]
    new_password_file: Option<PathBuf>,
    /// Use this file's content, 32 random bytes or more
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    new_key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleName {
    /// Adds points, reads no data
    Backup,
    /// Reads everything besides
    Restore,
    /// Manages keys besides
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Backup => Self::Backup,
            RoleName::Restore => Self::Restore,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// Does one of the three.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    match &arguments.action {
        Action::List => list(global),
        Action::Add(add) => self::add(add, global),
        Action::Remove { id } => remove(id, global),
    }
}

fn kind(slot: &SlotInfo) -> &'static str {
    match slot.kind {
        SlotKind::Password { .. } => "password",
        SlotKind::KeyFile => "key file",
    }
}

fn describe(slot: &SlotInfo, current: bool) -> Value {
    json!({
        "id": slot.id,
        "role": slot.role.name(),
        "kind": kind(slot).replace(' ', "-"),
        "created": human::unix_time(slot.created_unix_seconds).replace(' ', "T"),
        "current": current,
    })
}

fn list(global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let current = &vault.opened_by().id;
    let slots = vault.key_slots()?;
    let mut out = Output::open();
    if global.json {
        let slots: Vec<Value> = slots.iter().map(|slot| describe(slot, slot.id == *current)).collect();
        out.json(&slots)?;
    } else {
        let mut lines = vec![["ID", "ROLE", "OPENED BY", "CREATED", ""].map(str::to_owned)];
        lines.extend(slots.iter().map(|slot| {
            let used = if slot.id == *current { "in use now" } else { "" };
            let created = human::unix_time(slot.created_unix_seconds);
            [slot.id.clone(), slot.role.name().to_owned(), kind(slot).to_owned(), created, used.to_owned()]
        }));
        human::columns(&lines, &[]).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn add(add: &Add, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let new = secrets::new_slot_credential(add.new_password_file.as_deref(), add.new_key_file.as_deref())?;
    signals::end_at_once().map_err(signals::refused)?;
    let slot = vault.add_key(add.role.into(), &new, PasswordCost::default())?;
    if global.json {
        output::json(&describe(&slot.info, false))?;
    } else if !global.quiet {
        output::line(&format!("key {} added: role {}, {}", slot.info.id, slot.info.role.name(), kind(&slot.info)))?;
    }
    Ok(Exit::Done)
}

fn remove(wanted: &str, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let slots = vault.key_slots()?;
    let mut fitting = slots.iter().filter(|slot| !wanted.is_empty() && slot.id.starts_with(wanted));
    let id = match (fitting.next(), fitting.next()) {
        (Some(slot), None) => slot.id.clone(),
        (None, _) => return Err(Problem::usage(format!("no key has the id {wanted:?}"), "see `icecore key list`")),
        (Some(_), Some(_)) => {
            return Err(Problem::usage(
                format!("several keys have ids that begin with {wanted:?}"),
                "give more digits",
            ));
        }
    };
    vault.remove_key(&id)?;
    if global.json {
        output::json(&json!({"message_type": "removed", "id": id}))?;
    } else if !global.quiet {
        output::line(&format!("key {id} removed"))?;
    }
    Ok(Exit::Done)
}

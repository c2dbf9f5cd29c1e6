//! `icecore key`

mod rotate;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use icecore::Vault;
use icecore::format::hex;
use icecore::format::key_slot::{Role, SlotKind};
use icecore::seal::{PasswordCost, RecoveryKey, SlotInfo};
use icecore::vault::{KeyRequest, ListedSlot, NewSlot, Standing};
use serde_json::{Value, json};

use super::arguments::Global;
use super::exit::Exit;
use super::output::{self, Output};
use super::problem::{Doing, Problem, Sentence};
use super::salvage::Salvage;
use super::secrets::NewKey;
use super::{human, recovery, secrets, seen, signals};

const EXAMPLES: &str = "\
Examples:
  icecore key list
  icecore key add --role backup --label web01 --new-key-file /root/backup.key
  icecore key add --role admin --recovery
  icecore key passwd
  icecore key remove 4c1d09be11a2c3d4 && icecore key rotate";

/// Manage what opens the vault
///
/// Lists, adds, changes and removes what opens the vault. A key has a role: `backup` adds points and can't read any data,
/// `restore` reads everything too, `admin` manages keys as well.
///
/// To remove a key closes the vault to it. Its holder may have kept what it gave him, and a copy of the vault: rotate after
/// it, so that nothing written from then on opens with anything that he holds.
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
    /// Add a password, a key file, a recovery key, or one that a key service keeps
    Add(Add),
    /// Change the password, or whatever else this key is opened by
    Passwd(Passwd),
    /// Remove a key; the last of role `admin` stays
    Remove(Remove),
    /// Begin a new epoch of keys: what is written from now on opens with no key that was removed before
    Rotate(rotate::Arguments),
}

/// What a new key is to be opened by: from one of the options, or a password that is asked for on a terminal.
#[derive(Args, Debug)]
struct Source {
    /// Take the new password from this file's line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "source")]
    new_password_file: Option<PathBuf>,
    /// Use this file's content, 32 random bytes or more
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "source")]
    new_key_file: Option<PathBuf>,
    /// Make a random key that this command wraps: a program and its arguments, run without a shell
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString, group = "source")]
    wrap_command: Option<String>,
    /// The command that unwraps it again, tried at once; --unwrap-command if that is given
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString, requires = "wrap_command")]
    new_unwrap_command: Option<String>,
}

impl Source {
    fn new_key(&self) -> NewKey<'_> {
        NewKey {
            password_file: self.new_password_file.as_deref(),
            key_file: self.new_key_file.as_deref(),
            wrap_command: self.wrap_command.as_deref(),
            unwrap_command: self.new_unwrap_command.as_deref(),
        }
    }
}

const ADD_HELP: &str = r#"Examples:
  icecore key add --role backup --label web01 --new-key-file /root/backup.key
  icecore key add --role restore --label alice
  icecore key add --role admin --recovery --label safe
  icecore key add --role admin --label kms --wrap-command /etc/icecore/wrap --new-unwrap-command /etc/icecore/unwrap

Keys that a key service keeps. icecore makes a random key and has a command of yours wrap it; each time the vault is
opened, a second command unwraps it. Revoke the outside key, and the vault is closed to this way in. Both commands are
programs with arguments apart at spaces; no shell, nothing is expanded. They read one line of JSON:
  {"format":1,"operation":"wrap","vault":ID,"slot":ID,"key":BASE64}         and print  {"wrapped":TEXT}
  {"format":1,"operation":"unwrap","vault":ID,"slot":ID,"wrapped":TEXT}     and print  {"key":BASE64}
TEXT is theirs, up to 16 KiB, and lies in the vault in the clear. What they say on standard error is shown. The unwrap
command is given each time (--unwrap-command, ICECORE_UNWRAP_COMMAND) and never stored in the vault: else whoever can
write to the vault could run programs as whoever opens it.

Azure Key Vault, as two scripts (an RSA key K in vault V):
  wrap    #!/bin/sh
          v=$(jq -r .key); az keyvault key encrypt --vault-name V --name K --algorithm RSA-OAEP-256 \
            --data-type base64 --value "$v" --query '{wrapped: result}' -o json
  unwrap  #!/bin/sh
          w=$(jq -r .wrapped); az keyvault key decrypt --vault-name V --name K --algorithm RSA-OAEP-256 \
            --data-type base64 --value "$w" --query '{key: result}' -o json
AWS KMS (a symmetric key alias/K):
  wrap    #!/bin/sh
          t=$(mktemp) && trap 'rm -f "$t"' EXIT && jq -r .key | base64 -d > "$t"
          aws kms encrypt --key-id alias/K --plaintext "fileb://$t" --query '{wrapped: CiphertextBlob}' --output json
  unwrap  #!/bin/sh
          t=$(mktemp) && trap 'rm -f "$t"' EXIT && jq -r .wrapped | base64 -d > "$t"
          aws kms decrypt --key-id alias/K --ciphertext-blob "fileb://$t" --query '{key: Plaintext}' --output json
age (wrap needs the recipient only, unwrap the identity; so anybody can wrap: see THREATS.md):
  wrap    #!/bin/sh
          jq -r .key | base64 -d | age -r age1... | base64 -w0 | jq -R '{wrapped: .}'
  unwrap  #!/bin/sh
          jq -r .wrapped | base64 -d | age -d -i /root/age.key | base64 -w0 | jq -R '{key: .}'"#;

/// Add a password, a key file, a recovery key, or one that a key service keeps
#[derive(Args, Debug)]
#[command(after_help = ADD_HELP)]
struct Add {
    /// What it may do
    #[arg(long, value_enum, value_name = "ROLE")]
    role: RoleName,
    /// What people call it, as alice or web01: up to 64 bytes, in the vault in the clear
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    label: String,
    /// Make a recovery key and print it, once, as 24 words and a QR code
    #[arg(long, group = "source")]
    recovery: bool,
    #[command(flatten)]
    source: Source,
}

/// Change the password, or whatever else this key is opened by
///
/// Makes a new key of the same role and label, then removes the one that opened the vault. Needs the role `admin`: for
/// others, an administrator adds a new key and removes the old one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  icecore key passwd
  icecore key passwd --new-password-file /root/new-password")]
struct Passwd {
    #[command(flatten)]
    source: Source,
}

/// Remove a key; the last of role `admin` stays
///
/// The vault is closed to that key at once. What its holder may have copied before is another matter: `icecore key rotate`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  icecore key remove 4c1d09be11a2c3d4
  icecore key remove 4c1d --own        # even if it is the one that opens the vault just now")]
struct Remove {
    /// Its id, as `key list` shows it, or the first digits
    id: String,
    /// Remove it even if it is the one that opens the vault just now
    #[arg(long)]
    own: bool,
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

/// What is safe when it fails.
pub fn doing(arguments: &Arguments) -> Doing {
    match arguments.action {
        Action::Rotate(_) => Doing::Rotating,
        _ => Doing::Keys,
    }
}

/// Does one of them.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    match &arguments.action {
        Action::List => list(global),
        Action::Add(add) => self::add(add, global),
        Action::Passwd(passwd) => self::passwd(passwd, global),
        Action::Remove(remove) => self::remove(remove, global),
        Action::Rotate(arguments) => rotate::run(arguments, global),
    }
}

fn kind(slot: &SlotInfo) -> &'static str {
    match slot.kind {
        SlotKind::Password { .. } => "password",
        SlotKind::KeyFile => "key file",
        SlotKind::Recovery => "recovery key",
        SlotKind::External => "external command",
    }
}

fn describe(slot: &SlotInfo) -> Value {
    json!({
        "id": slot.id,
        "role": slot.role.name(),
        "kind": kind(slot).replace(' ', "-"),
        "label": slot.label,
        "created": human::unix_time(slot.created_unix_seconds).replace(' ', "T"),
        "epoch": slot.epoch,
    })
}

/// The same of one that is in the vault, with what is known of where it comes from.
fn describe_listed(slot: &ListedSlot, current: &str) -> Value {
    let mut value = describe(&slot.info);
    value["current"] = (slot.info.id == current).into();
    value["standing"] = match slot.standing {
        Standing::Authentic => "made-by-administrator",
        Standing::Unchecked => "unchecked",
        Standing::Forged => "not-made-by-administrator",
        Standing::Outdated => "before-rotation",
        Standing::Removed => "removed",
    }
    .into();
    value
}

fn remark(slot: &ListedSlot, current: &str) -> &'static str {
    match slot.standing {
        Standing::Forged => "not made by an administrator",
        Standing::Outdated => "from before the rotation, opens nothing",
        Standing::Removed => "removed and put back, opens nothing",
        Standing::Authentic | Standing::Unchecked if slot.info.id == current => "in use now",
        Standing::Authentic | Standing::Unchecked => "",
    }
}

fn list(global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let current = &vault.opened_by().id;
    let slots = vault.key_slots()?;
    let mut out = Output::open();
    if global.json {
        out.json(&slots.iter().map(|slot| describe_listed(slot, current)).collect::<Vec<_>>())?;
    } else {
        let mut lines = vec![["ID", "ROLE", "OPENED BY", "LABEL", "CREATED", ""].map(str::to_owned)];
        lines.extend(slots.iter().map(|slot| {
            let (info, remark) = (&slot.info, remark(slot, current));
            let created = human::unix_time(info.created_unix_seconds);
            let [role, kind, remark] = [info.role.name(), kind(info), remark].map(str::to_owned);
            [info.id.clone(), role, kind, info.label.clone(), created, remark]
        }));
        human::columns(&lines, &[]).iter().try_for_each(|line| out.line(line))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Adds a recovery key.
pub fn add_recovery(vault: &Vault, role: Role, label: &str) -> Result<(NewSlot, RecoveryKey), Problem> {
    let key = RecoveryKey::generate()?;
    let (credential, cost) = (key.credential(), PasswordCost::default());
    let slot = vault.add(&KeyRequest { role, credential, cost, label: label.to_owned() })?;
    Ok((slot, key))
}

/// Prints a recovery key. One that nobody could read is removed again, also where a pipe was closed: it would be a key to
/// everything that nobody has.
pub fn printed_or_removed(
    vault: &Vault,
    slot: &NewSlot,
    print: impl FnOnce() -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Err(problem) = print() else { return Ok(()) };
    let why = match &problem {
        Problem::Engine(error) => error.to_string(),
        _ => "standard output was closed".to_owned(),
    };
    let happened = format!("the recovery key could not be printed: {why}");
    let next = format!("run `icecore key add --role {} --recovery`", slot.info.role.name());
    Err(match vault.remove_key(&slot.info.id, true) {
        Ok(()) => Problem::said(Exit::Failed, Sentence::new(happened, "it was removed again", next)),
        Err(error) => {
            let left = format!("key {} is left, since removing it failed too: {error}", slot.info.id);
            Problem::said(Exit::Failed, Sentence::new(happened, left, "remove it with `icecore key remove`"))
        }
    })
}

fn add(add: &Add, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    if add.recovery {
        signals::end_at_once().map_err(signals::refused)?;
        let (slot, key) = add_recovery(&vault, add.role.into(), &add.label)?;
        printed_or_removed(&vault, &slot, || {
            let mut out = Output::open();
            if global.json {
                let mut value = describe(&slot.info);
                value["words"] = key.words().as_str().into();
                out.json(&value)?;
            } else {
                told(&mut out, &slot, "added", global)?;
                recovery::print(&mut out, &key, &hex(&vault.header().vault), &slot.info.id)?;
            }
            out.flush()
        })?;
        return Ok(Exit::Done);
    }
    let credential = secrets::new_slot_credential(&add.source.new_key(), global)?;
    signals::end_at_once().map_err(signals::refused)?;
    let (cost, label) = (PasswordCost::default(), add.label.clone());
    let slot = vault.add(&KeyRequest { role: add.role.into(), credential, cost, label })?;
    tell(&slot, "added", global)
}

fn passwd(passwd: &Passwd, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open_with_signals_as_they_are(Salvage::default())?;
    let credential = secrets::new_slot_credential(&passwd.source.new_key(), global)?;
    signals::end_at_once().map_err(signals::refused)?;
    let slot = vault.change_own_key(&credential, PasswordCost::default())?;
    seen::look(&vault, global.json, false);
    tell(&slot, "takes the place of the one that opened the vault", global)
}

fn tell(slot: &NewSlot, what: &str, global: &Global) -> Result<Exit, Problem> {
    let mut out = Output::open();
    if global.json {
        out.json(&describe(&slot.info))?;
    } else {
        told(&mut out, slot, what, global)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn told(out: &mut Output, slot: &NewSlot, what: &str, global: &Global) -> Result<(), Problem> {
    if global.quiet {
        return Ok(());
    }
    out.line(&format!("key {} {what}: role {}, {}", slot.info.id, slot.info.role.name(), kind(&slot.info)))
}

fn remove(remove: &Remove, global: &Global) -> Result<Exit, Problem> {
    let (vault, wanted) = (global.open()?, &remove.id);
    let slots = vault.key_slots()?;
    let mut fitting = slots.iter().filter(|slot| !wanted.is_empty() && slot.info.id.starts_with(wanted));
    let id = match (fitting.next(), fitting.next()) {
        (Some(slot), None) => slot.info.id.clone(),
        (None, _) => return Err(Problem::usage(format!("no key has the id {wanted:?}"), "see `icecore key list`")),
        (Some(_), Some(_)) => {
            return Err(Problem::usage(
                format!("several keys have ids that begin with {wanted:?}"),
                "give more digits",
            ));
        }
    };
    vault.remove_key(&id, remove.own)?;
    seen::look(&vault, global.json, false);
    if global.json {
        output::json(&json!({"message_type": "removed", "id": id}))?;
    } else if !global.quiet {
        output::line(&format!(
            "key {id} removed; `icecore key rotate` makes sure that nothing written from now on opens with it"
        ))?;
    }
    Ok(Exit::Done)
}

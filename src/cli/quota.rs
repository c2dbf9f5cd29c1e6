//! `icecore quota`

use clap::{Args, Subcommand};
use icecore::backup::QuotaUse;
use icecore::point::check_name;
use icecore::vault::Quota;
use serde_json::{Value, json};

use super::arguments::Global;
use super::exit::Exit;
use super::human;
use super::output::{self, Output};
use super::problem::Problem;
use super::seen;
use super::size;

const EXAMPLES: &str = "\
Examples:
  icecore quota
  icecore quota set --warn 8T --hard 10T
  icecore quota set web01 --warn 500G --hard 1T
  icecore quota clear web01";

/// Show or set how much machines and the vault may take
///
/// Without an action, lists the quotas and what is taken of them. From the warning on, a backup says so and goes on; at the
/// hard quota no more points are made (exit code 14), while everything that is there stays and can be read, forgotten,
/// checked and given back. A backup that would go beyond it makes no point, and its space is given back.
///
/// The vault counts with the bytes of its segments and parity. A machine counts with what its oldest point needs and what
/// each later one added, as the points tell: about what it would take alone, whatever it shares with others; forgotten
/// points count until they are purged. `icecore stats --points` tells exactly what would be given back.
///
/// A quota holds off honest programs and mistakes: whoever has a key and a program of his own can write more.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the quotas and what is taken of them
    List,
    /// Set a quota; needs a key of role admin
    Set(Set),
    /// Take a quota away; needs a key of role admin
    Clear(Clear),
}

/// Set a quota; needs a key of role admin
///
/// A level that is not given stays as it is; 0 takes it away.
#[derive(Args, Debug)]
struct Set {
    /// The machine, which need not have any points yet; the vault as a whole where none is given
    #[arg(value_parser = name)]
    machine: Option<String>,
    /// From here on backups warn, such as 500G for 500 GiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse, required_unless_present = "hard")]
    warn: Option<u64>,
    /// Beyond this no point is made, and a backup that gets there ends; such as 1T for 1 TiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    hard: Option<u64>,
}

#[derive(Args, Debug)]
struct Clear {
    /// The machine; the vault as a whole where none is given
    #[arg(value_parser = name)]
    machine: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    check_name("machine name", text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Lists them, or sets one.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let (machine, quota) = match &arguments.action {
        None | Some(Action::List) => return list(&vault.quotas()?, global),
        Some(Action::Clear(clear)) => (clear.machine.as_deref(), Quota::default()),
        Some(Action::Set(set)) => {
            let machine = set.machine.as_deref();
            let old = vault.quota(machine)?;
            let quota = Quota {
                warn_bytes: set.warn.unwrap_or(old.warn_bytes),
                hard_bytes: set.hard.unwrap_or(old.hard_bytes),
            };
            (machine, quota)
        }
    };
    let known = vault.set_quota(machine, quota)?;
    seen::look(&vault, global.json, false);
    if known.is_full() {
        let text = format!("{}: no points are made until it is below, as after `icecore gc`", sentence(&known));
        output::notice(&text, global.json);
    }
    if global.json {
        return output::json(&value(&known)).map(|()| Exit::Done);
    }
    if !global.quiet {
        let level = |bytes| if bytes == 0 { "none".to_owned() } else { human::size(bytes) };
        let text = match quota {
            Quota { warn_bytes: 0, hard_bytes: 0 } => format!("{} has no quota", whose(&known.machine)),
            Quota { warn_bytes, hard_bytes } => {
                format!("{}: warning {}, hard {}", whose(&known.machine), level(warn_bytes), level(hard_bytes))
            }
        };
        output::line(&text)?;
    }
    Ok(Exit::Done)
}

fn list(quotas: &[QuotaUse], global: &Global) -> Result<Exit, Problem> {
    if global.json {
        return output::json(&quotas.iter().map(value).collect::<Vec<_>>()).map(|()| Exit::Done);
    }
    if quotas.is_empty() {
        if !global.quiet {
            output::line("no quotas are set")?;
        }
        return Ok(Exit::Done);
    }
    let level = |bytes| if bytes == 0 { "-".to_owned() } else { human::size(bytes) };
    let mut lines = vec![["MACHINE", "COUNTS", "WARNING", "HARD", ""].map(str::to_owned)];
    lines.extend(quotas.iter().map(|known| {
        [
            whose(&known.machine).to_owned(),
            human::size(known.counted_bytes),
            level(known.quota.warn_bytes),
            level(known.quota.hard_bytes),
            state(known).to_owned(),
        ]
    }));
    let mut out = Output::open();
    human::columns(&lines, &[1, 2, 3]).iter().try_for_each(|line| out.line(line))?;
    out.flush().map(|()| Exit::Done)
}

fn state(known: &QuotaUse) -> &'static str {
    match (known.is_full(), known.is_warning()) {
        (true, _) => "full",
        (false, true) => "warning",
        (false, false) => "",
    }
}

fn whose(machine: &str) -> &str {
    if machine.is_empty() { "(the vault)" } else { machine }
}

/// A quota and what is taken of it, for programs; the machine is null for the vault as a whole.
pub(super) fn value(known: &QuotaUse) -> Value {
    json!({
        "machine": Some(&known.machine).filter(|machine| !machine.is_empty()),
        "counted_bytes": known.counted_bytes,
        "warn_bytes": known.quota.warn_bytes,
        "hard_bytes": known.quota.hard_bytes,
        "state": match state(known) { "" => "below", state => state },
    })
}

/// How much of a quota is taken.
pub(super) fn sentence(known: &QuotaUse) -> String {
    let whose = if known.machine.is_empty() { "the vault".to_owned() } else { known.machine.clone() };
    let of = match known.quota {
        Quota { hard_bytes, .. } if hard_bytes > 0 => format!("its quota is {}", human::size(hard_bytes)),
        Quota { warn_bytes, .. } => format!("its quota warns from {}", human::size(warn_bytes)),
    };
    format!("{whose} counts {}, {of}", human::size(known.counted_bytes))
}

//! `icecore soft-delete`

use std::time::Duration;

use clap::Args;
use icecore::point::Until;
use icecore::vault::SoftDelete;
use jiff::Timestamp;
use serde_json::json;

use super::arguments::Global;
use super::backup::parse_time;
use super::duration;
use super::exit::Exit;
use super::human;
use super::output;
use super::problem::Problem;
use super::seen;

const EXAMPLES: &str = "\
Examples:
  icecore soft-delete
  icecore soft-delete --grace 30d
  icecore soft-delete --grace 30d --lock-until 2028-01-01";

/// Show or set how long forgotten points can be brought back
///
/// Without options, shows it. With --lock-until or --always-on, nobody makes it shorter before then: no password, no option
/// of this command, also not who holds every key. It can be made longer at any time. Points that are forgotten already
/// keep the time that they have.
///
/// Time only goes on: a clock that is set back makes nothing end earlier. One that is set forward does; whoever can do that
/// on the machine where `icecore gc` runs must hold a key of role admin too.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// How long, as 30d or 8w; 0d for not at all
    #[arg(long, value_name = "TIME", value_parser = duration::parse_days)]
    grace: Option<Duration>,
    /// Until when nobody can make it shorter
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    lock_until: Option<Timestamp>,
    /// Nobody can make it shorter, for ever
    #[arg(long, conflicts_with = "lock_until")]
    always_on: bool,
}

/// Shows it, after it was set where that is wanted.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let mut set = vault.soft_delete()?;
    let before = set;
    if let Some(grace) = arguments.grace {
        set.grace_seconds = grace.as_secs();
    }
    if let Some(until) = arguments.lock_until {
        set.locked_until_unix_seconds = until.as_second();
    }
    if arguments.always_on {
        set.locked_until_unix_seconds = Until::Ever.unix_seconds();
    }
    if set != before {
        vault.set_soft_delete(set)?;
        seen::look(&vault, global.json, false);
    }
    tell(&set, global)
}

fn tell(set: &SoftDelete, global: &Global) -> Result<Exit, Problem> {
    let locked = set.locked_until_unix_seconds;
    if global.json {
        let until = match locked {
            0 => json!(null),
            i64::MAX => json!("ever"),
            locked => json!(Timestamp::from_second(locked).ok()),
        };
        output::json(&json!({"grace_seconds": set.grace_seconds, "locked_until": until}))?;
    } else if !global.quiet {
        let lock = match locked {
            i64::MAX => "; locked for ever".to_owned(),
            locked if locked > Timestamp::now().as_second() => {
                format!("; locked until {}", human::unix_time(locked.unsigned_abs()))
            }
            _ => String::new(),
        };
        let grace = match set.grace_seconds {
            0 => "forgotten points can't be brought back once `icecore gc` ran".to_owned(),
            seconds => format!("forgotten points can be brought back for {}", duration::words(seconds)),
        };
        output::line(&format!("{grace}{lock}"))?;
    }
    Ok(Exit::Done)
}

//! `icecore protect`

use clap::Args;
use icecore::point::Until;
use jiff::Timestamp;

use super::arguments::Global;
use super::backup::parse_time;
use super::exit::Exit;
use super::forget::tell;
use super::human;
use super::paths::PointPath;
use super::problem::Problem;
use super::seen;

const EXAMPLES: &str = "\
Examples:
  icecore protect web01/latest --reason 'before the migration'
  icecore protect web01/4506a861 --until 2027-06-30
  icecore protect --release web01/4506a861";

/// Hold points, so that nobody forgets them
///
/// A protected point is forgotten by nobody and no policy, until that time or until it is released. Needs a key of role
/// admin.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The points
    #[arg(value_name = "MACHINE/POINT", required = true)]
    points: Vec<PointPath>,
    /// Until when; without it until they are released
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// End their protection
    #[arg(long, conflicts_with_all = ["until", "reason"])]
    release: bool,
}

/// Protects or releases them, one after the other.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    if arguments.until.is_some_and(|until| until <= Timestamp::now()) {
        return Err(Problem::usage("that time is over", "give one that is to come"));
    }
    let vault = global.open()?;
    let until = arguments.until.map_or(Until::Ever, Until::Time);
    let ended = arguments.points.iter().try_for_each(|path| {
        let point = path.find(&vault)?;
        let point = vault.protect(&point, (!arguments.release).then_some(until), &arguments.reason)?;
        let words = match point.protected {
            None => "is protected no longer".to_owned(),
            Some(Until::Ever) => "is protected until it is released".to_owned(),
            Some(Until::Time(time)) => format!("is protected until {}", human::moment(time)),
        };
        tell(global, if arguments.release { "released" } else { "protected" }, &words, &point)
    });
    seen::look(&vault, global.json, false);
    ended.map(|()| Exit::Done)
}

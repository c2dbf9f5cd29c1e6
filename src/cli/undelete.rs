//! `icecore undelete`

use clap::Args;

use super::arguments::Global;
use super::exit::Exit;
use super::forget::tell;
use super::paths::PointPath;
use super::problem::Problem;
use super::seen;

const EXAMPLES: &str = "\
Examples:
  icecore points --deleted
  icecore undelete web01/2026-11-20T02-00-00Z
  icecore undelete web01/4506a861";

/// Bring forgotten points back
///
/// Brings points back that were forgotten and are not purged: `icecore points --deleted` lists them. They are then as they
/// were. Needs a key of role admin.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The points
    #[arg(value_name = "MACHINE/POINT", required = true)]
    points: Vec<PointPath>,
}

/// Brings them back, one after the other.
pub fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Problem> {
    let vault = global.open()?;
    let ended = arguments.points.iter().try_for_each(|path| {
        let point = vault.undelete(&path.machine, &path.point)?;
        tell(global, "brought_back", "is listed again", &point)
    });
    seen::look(&vault, global.json, false);
    ended.map(|()| Exit::Done)
}

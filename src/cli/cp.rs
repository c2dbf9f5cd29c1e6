//! stand-in
use super::{arguments::Global, exit::Exit, problem::Problem};
use clap::Args;
/// Soon
#[derive(Args, Debug)]
pub struct Arguments {}
/// Soon
pub fn run(_: &Arguments, _: &Global) -> Result<Exit, Problem> {
    Ok(Exit::Failed)
}

//! Feeds files to a target, without libFuzzer: `replay TARGET FILE...`. Without arguments it lists the targets.

use std::process::ExitCode;

use icecore_fuzz::budget::{self, Counting};
use icecore_fuzz::{TARGETS, target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for target in &TARGETS {
            println!("{} {}", target.name, target.longest);
        }
        return ExitCode::SUCCESS;
    };
    let Some(target) = target(&name) else {
        eprintln!("no target {name}");
        return ExitCode::FAILURE;
    };
    for file in arguments {
        let data = match std::fs::read(&file) {
            Ok(data) => data,
            Err(error) => {
                eprintln!("{file}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let (taken, bytes) = budget::peak(|| (target.run)(&data));
        println!("{file}: {}, {bytes} bytes live", if taken { "taken" } else { "refused" });
    }
    ExitCode::SUCCESS
}

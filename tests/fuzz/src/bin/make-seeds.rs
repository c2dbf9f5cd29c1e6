//! Makes the seeds and the images below `tests/fuzz` anew: `make-seeds [images]`. Images need `mke2fs`, `debugfs` and
//! what `xfs-images.sh` needs, and are made only if asked for. Seeds that libFuzzer found have names of their own, and stay.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("images")
        && let Err(error) = icecore_fuzz::seeds::write_images()
    {
        eprintln!("images: {error}");
        return ExitCode::FAILURE;
    }
    match icecore_fuzz::seeds::write() {
        Ok(seeds) => {
            println!("{seeds} seeds");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

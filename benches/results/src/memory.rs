//! The same memory for everybody: caches as a measurement wants them, and memory that was used before.

use std::env;
use std::fs::{self, File};
use std::hint;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;
use crate::machine;
use crate::place::Place;

/// Below this much free memory, warming it is not worth the while.
const WORTH_BYTES: u64 = 4 << 30;

/// Left alone when memory is warmed.
const MARGIN_BYTES: u64 = 1 << 30;

/// The subcommand that `warm` runs this program with.
pub const TOUCH: &str = "touch-memory";

/// Touches most of the free memory once, and says so in a sentence.
///
/// In a virtual machine the host finds memory only when it is touched for the first time, which can be ten times slower
/// than zeroing it. Whoever is measured first would pay for all.
pub fn warm(place: &Place, wanted: bool) -> Result<String> {
    let free_bytes = machine::free_bytes();
    if !wanted || free_bytes < WORTH_BYTES {
        return Ok("Free memory was taken as it was.".to_owned());
    }
    let bytes = free_bytes - MARGIN_BYTES;
    let mut touch = Command::new(env::current_exe()?);
    let seconds = child::run(touch.arg(TOUCH).arg(bytes.to_string()), &place.dir().join("touch.log"))?.seconds;
    let gib = bytes as f64 / f64::from(1 << 30);
    Ok(format!(
        "Before the first measurement {gib:.1} GiB of free memory were touched once (in {seconds:.0} s), so that nobody \
         waits for the host to find them."
    ))
}

/// Touches this much memory, and gives it back.
pub fn touch(bytes: usize) {
    hint::black_box(vec![1_u8; bytes]);
}

/// Reads a file once, so that the page cache has it if it can.
pub fn read_into_cache(path: &Path) -> Result<()> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Writes out what waits to be written, so that nobody pays for what another wrote.
pub fn settle() {
    rustix::fs::sync();
}

/// Empties the kernel's caches; false where only root may and we are not.
pub fn drop_caches() -> bool {
    settle();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

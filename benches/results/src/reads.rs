//! Reads of a file as those who use a mount do them: from end to end, and here and there.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::child;

/// Bytes of a random read, and what its place is aligned to.
const BLOCK: usize = 4096;

/// The places of an image where random reads are worth something, in blocks, in an order without order.
///
/// Blocks of zeros don't count: no program needs to look anywhere for those.
pub fn blocks_with_data(image: &Path) -> Result<Vec<u32>> {
    let file = File::open(image).with_context(|| image.display().to_string())?;
    let mut blocks = Vec::new();
    let mut buffer = vec![0; 256 * BLOCK];
    let mut at = 0;
    while let Some(data) = next_data(&file, at)? {
        // Data may begin between blocks where the file system's are smaller.
        at = data - data % BLOCK as u64;
        let filled = file.read_at(&mut buffer, at)?;
        for (number, block) in buffer[..filled].chunks_exact(BLOCK).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                blocks.push(u32::try_from(at / BLOCK as u64 + number as u64)?);
            }
        }
        at += buffer.len() as u64;
    }
    ensure!(!blocks.is_empty(), "{} holds nothing but zeros", image.display());
    shuffle(&mut blocks);
    Ok(blocks)
}

/// Reads a file from end to end with `dd bs=1M`; returns bytes per second.
pub fn sequential(file: &Path, log: &Path) -> Result<f64> {
    let bytes = file.metadata()?.len();
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", file.display())).args(["of=/dev/null", "bs=1M"]);
    Ok(bytes as f64 / child::run(&mut dd, log)?.seconds)
}

/// Lets some readers read single blocks for that long, each its own blocks; returns reads per second.
pub fn random(file: &Path, blocks: &[u32], readers: usize, duration: Duration) -> Result<f64> {
    let file = File::open(file).with_context(|| file.display().to_string())?;
    let start = Barrier::new(readers);
    let reads_per_second: Result<f64> = thread::scope(|scope| {
        let reader = |number| {
            let (file, start) = (&file, &start);
            scope.spawn(move || {
                start.wait();
                read_blocks(file, blocks.iter().skip(number).step_by(readers), duration)
            })
        };
        let readers: Vec<_> = (0..readers).map(reader).collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or_else(|_| bail!("a reader panicked"))).sum()
    });
    reads_per_second.context("random reads")
}

/// Reads one block after the other until time is up; returns reads per second.
fn read_blocks<'a>(file: &File, blocks: impl Iterator<Item = &'a u32>, duration: Duration) -> Result<f64> {
    let mut buffer = [0; BLOCK];
    let began = Instant::now();
    let mut reads = 0_u64;
    // Stops early where all were read: the second time they would come from the page cache.
    for block in blocks {
        file.read_exact_at(&mut buffer, u64::from(*block) * BLOCK as u64)?;
        reads += 1;
        if began.elapsed() >= duration {
            break;
        }
    }
    Ok(reads as f64 / began.elapsed().as_secs_f64())
}

fn next_data(file: &File, from: u64) -> Result<Option<u64>> {
    match seek(file, SeekFrom::Data(from)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error).context("SEEK_DATA"),
    }
}

/// Fisher and Yates' shuffle with Marsaglia's generator: the same order on every machine.
pub fn shuffle(blocks: &mut [u32]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for end in (1..blocks.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        blocks.swap(end, (state % (end as u64 + 1)) as usize);
    }
}

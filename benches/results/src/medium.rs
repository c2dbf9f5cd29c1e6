//! What the medium itself gives, past the page cache: the bound of everything that waits for it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::place::Place;
use crate::table;

/// Length of the file: more than a device's own cache remembers.
const FILE_BYTES: u64 = 2 << 30;

/// Bytes of a sequential read or write.
const SEQUENTIAL_BYTES: usize = 1 << 20;

/// Bytes of a random read: a compressed chunk of 64 KiB and its neighbours' ends, in whole pages.
const RANDOM_BYTES: usize = 28 << 10;

/// What direct I/O wants addresses and places aligned to, at most.
const ALIGNMENT: usize = 4096;

/// Measures, and says it in a sentence; nothing where the file system offers no direct I/O.
pub fn describe(place: &Place, duration: Duration) -> Result<String> {
    let path = place.dir().join("medium");
    let sentence = match direct(&path) {
        Err(_) => String::new(),
        Ok(file) => {
            let write = sequential(|buffer, offset| file.write_all_at(buffer, offset))?;
            file.sync_all()?;
            let read = sequential(|buffer, offset| file.read_exact_at(buffer, offset))?;
            let (one, four) = (random(&file, 1, duration)?, random(&file, 4, duration)?);
            format!(
                "The medium itself, past the page cache: {} MB/s written, {} MB/s read, {} random reads of {} KiB a second \
                 by one reader, {} by four.",
                table::number(write / 1e6, 0),
                table::number(read / 1e6, 0),
                table::number(one, 0),
                RANDOM_BYTES >> 10,
                table::number(four, 0),
            )
        }
    };
    fs::remove_file(&path).with_context(|| path.display().to_string())?;
    Ok(sentence)
}

fn direct(path: &Path) -> std::io::Result<File> {
    File::create(path)?;
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)
}

/// Goes through the file from end to end; returns bytes per second.
fn sequential(mut step: impl FnMut(&mut [u8], u64) -> std::io::Result<()>) -> Result<f64> {
    let mut buffer = Buffer::new(SEQUENTIAL_BYTES);
    let began = Instant::now();
    for offset in (0..FILE_BYTES).step_by(SEQUENTIAL_BYTES) {
        step(buffer.bytes(), offset)?;
    }
    Ok(FILE_BYTES as f64 / began.elapsed().as_secs_f64())
}

/// Lets some readers read here and there for that long; returns reads per second.
fn random(file: &File, readers: u64, duration: Duration) -> Result<f64> {
    thread::scope(|scope| {
        let readers: Vec<_> = (1..=readers).map(|seed| scope.spawn(move || hop(file, seed, duration))).collect();
        readers.into_iter().map(|reader| reader.join().unwrap_or_else(|_| bail!("a reader panicked"))).sum()
    })
}

fn hop(file: &File, seed: u64, duration: Duration) -> Result<f64> {
    let mut buffer = Buffer::new(RANDOM_BYTES);
    let places = (FILE_BYTES - RANDOM_BYTES as u64) / ALIGNMENT as u64;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let began = Instant::now();
    let mut reads = 0_u64;
    while began.elapsed() < duration {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.read_exact_at(buffer.bytes(), state % places * ALIGNMENT as u64)?;
        reads += 1;
    }
    Ok(reads as f64 / began.elapsed().as_secs_f64())
}

/// Memory that direct I/O accepts.
struct Buffer {
    memory: Vec<u8>,
    length: usize,
}

impl Buffer {
    fn new(length: usize) -> Self {
        // Not zeros: some devices answer those from a table.
        Self { memory: vec![0xa5; length + ALIGNMENT], length }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let start = self.memory.as_ptr().align_offset(ALIGNMENT);
        &mut self.memory[start..start + self.length]
    }
}

//! The parts that every byte passes, each alone: on one core, and on as many as there are workers.
//!
//! A part is called through the same functions as the engine calls it. Only the call is timed; putting back what it
//! consumes is not. What counts is processor time, so that other programs do not; only for a disk that memory does not
//! hold it is elapsed time, since its medium is what answers then.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::disk::{Disk, Front, PIECE_BYTES};
use super::material::{self, Material, record};
use super::place::{Place, failed};
use super::progress::Progress;
use super::report::{Part, Primitive};
use super::{Options, median, number};
use crate::backup::is_zero;
use crate::error::{Error, Result};
use crate::format::parity::ParityHeader;
use crate::format::segment::{RECORD_HEADER_BYTES, RecordType};
use crate::media::ObjectWriter;
use crate::meter::thread_time;
use crate::seal::IdKind;
use crate::store::parity::{self, Maker};
use crate::store::{decode, encode};
use crate::vault::InitOptions;

/// Pieces of time that a part is measured in; the middle one counts, as a virtual machine is disturbed now and then.
const SLICES: u32 = 5;

/// Bytes after which the file that is written to is begun anew.
const WRITE_BYTES: u64 = 64 << 20;

/// Parts that have no level.
const PLAIN: [Part; 8] =
    [Part::Read, Part::Scan, Part::Copy, Part::Hash, Part::Seal, Part::Open, Part::Parity, Part::Write];

/// Bytes of a segment whose parity is made: a group of the largest.
const PARITY_BYTES: usize = 10 << 20;

/// Number of steps that [`measure`] makes.
pub(super) fn steps(options: &Options) -> usize {
    PLAIN.len() + 2 * material::levels(options).len()
}

/// Everything that a part may need.
#[derive(Clone, Copy)]
struct Setup<'a> {
    place: &'a Place,
    disk: &'a Disk,
    material: &'a Material,
    level: i8,
}

/// Measures all parts.
pub(super) fn measure(
    place: &Place,
    disk: &Disk,
    material: &Material,
    (options, clock_hz): (&Options, f64),
    progress: &Progress,
) -> Result<Vec<Primitive>> {
    let mut wanted = vec![(Part::Read, None), (Part::Scan, None), (Part::Copy, None), (Part::Hash, None)];
    for part in [Part::Compress, Part::Decompress] {
        wanted.extend(material::levels(options).into_iter().map(|level| (part, Some(level))));
    }
    wanted.extend([Part::Seal, Part::Open, Part::Parity, Part::Write].map(|part| (part, None)));
    let mut primitives = Vec::new();
    for (part, level) in wanted {
        let name = name(part, level);
        progress.step(name.clone())?;
        let setup = Setup { place, disk, material, level: level.unwrap_or(options.level) };
        let one = rate(part, setup, 1, options.part_time, progress)?;
        let all = match options.workers() {
            1 => one,
            threads => rate(part, setup, threads, options.part_time, progress)?,
        };
        primitives.push(Primitive {
            part,
            level,
            name,
            one_core_bytes_per_second: one,
            all_cores_bytes_per_second: all,
            cycles_per_byte: clock_hz / one.max(1.0),
        });
    }
    Ok(primitives)
}

fn name(part: Part, level: Option<i8>) -> String {
    let name = match part {
        Part::Read => "read the disk",
        Part::Scan => "look for zeros",
        Part::Copy => "copy in memory",
        Part::Hash => "hash (BLAKE3)",
        Part::Compress => "compress (zstd",
        Part::Decompress => "decompress (zstd",
        Part::Seal => "seal (AES-256-GCM), stored bytes",
        Part::Open => "open (AES-256-GCM), stored bytes",
        Part::Parity => "make parity (Reed-Solomon)",
        Part::Write => "write to a file, no fsync",
    };
    level.map_or_else(|| name.to_owned(), |level| format!("{name} {level})"))
}

/// Bytes a second that so many threads reach together.
fn rate(part: Part, setup: Setup<'_>, threads: usize, time: Duration, progress: &Progress) -> Result<f64> {
    let barrier = Barrier::new(threads);
    let (barrier, slice) = (&barrier, time / SLICES);
    let per_thread = std::thread::scope(|scope| {
        let work = |thread| move || run_thread(part, setup, (thread, threads), slice, barrier, progress);
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(work(thread))).collect();
        let joined = running.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Poisoned)));
        joined.collect::<Result<Vec<Vec<f64>>>>()
    })?;
    let together = |slice: usize| per_thread.iter().filter_map(|rates| rates.get(slice)).sum::<f64>();
    Ok(median((0..SLICES as usize).map(together).collect()))
}

/// The rates of one thread, one for each slice of time.
fn run_thread(
    part: Part,
    setup: Setup<'_>,
    thread: (usize, usize),
    slice: Duration,
    barrier: &Barrier,
    progress: &Progress,
) -> Result<Vec<f64>> {
    // The first call touches memory and sets up contexts. Whoever fails here must still let the others begin.
    let begun = Work::new(part, setup, thread).and_then(|mut work| work.timed().map(|_| work));
    barrier.wait();
    let mut work = begun?;
    let mut rates = Vec::new();
    for _ in 0..SLICES {
        let (began, mut bytes, mut busy) = (Instant::now(), 0, Duration::ZERO);
        loop {
            progress.check()?;
            let (did, took) = work.timed()?;
            (bytes, busy) = (bytes + did, busy + took);
            if began.elapsed() >= slice {
                break;
            }
        }
        rates.push(number(bytes as u64) / busy.as_secs_f64().max(1e-9));
    }
    Ok(rates)
}

/// A part being called over and over by one thread, around the sample or the disk.
struct Work<'a> {
    part: Part,
    setup: Setup<'a>,
    clock: fn() -> Duration,
    at: usize,
    buffer: Vec<u8>,
    reading: Option<(Front, Vec<(u64, usize)>)>,
    writing: Option<(File, PathBuf, u64)>,
    protecting: Option<(Maker, ParityHeader, Vec<u8>)>,
}

/// Takes whatever is written to it.
struct Nowhere;

impl ObjectWriter for Nowhere {
    fn write_at(&self, _: u64, bytes: &[u8]) -> Result<()> {
        black_box(bytes);
        Ok(())
    }

    fn read_back(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Err(Error::Poisoned)
    }

    fn start_writeback(&self, _: u64, _: u64) {}

    fn drop_cached(&self) {}

    fn publish(&self) -> Result<bool> {
        Ok(false)
    }

    fn replace(&self) -> Result<()> {
        Ok(())
    }
}

impl<'a> Work<'a> {
    /// Threads begin at different places.
    fn new(part: Part, setup: Setup<'a>, (thread, threads): (usize, usize)) -> Result<Self> {
        let waits = part == Part::Read && !setup.disk.is_warm();
        let clock = if waits { elapsed_time } else { thread_time };
        let mut work =
            Self { part, setup, clock, at: 0, buffer: Vec::new(), reading: None, writing: None, protecting: None };
        let mut items = setup.material.chunks.len();
        match part {
            Part::Read => {
                let pieces: Vec<_> = setup.disk.pieces(PIECE_BYTES).collect();
                items = pieces.len();
                work.reading = Some((setup.disk.source()?, pieces));
                work.buffer.resize(PIECE_BYTES, 0);
            }
            Part::Write => {
                let path = setup.place.join(&format!("write-{thread}"));
                let file = File::create(&path).map_err(failed("create", &path))?;
                work.writing = Some((file, path, 0));
                // Pages that no file had before cost the host of a virtual machine more than they do later.
                let chunk = &setup.material.chunks[0];
                for _ in 0..WRITE_BYTES / chunk.len() as u64 {
                    work.write(chunk)?;
                }
            }
            Part::Parity => {
                let bytes: Vec<u8> = setup.material.chunks.iter().flatten().copied().take(PARITY_BYTES).collect();
                let percent = InitOptions::default().parity_percent;
                let header = parity::plan(&[0; 16], &[0; 16], bytes.len() as u64, percent);
                work.protecting = Some((Maker::new(), header, bytes));
            }
            _ => {}
        }
        work.at = items * thread / threads;
        Ok(work)
    }

    /// One call: its bytes, and the time it took.
    fn timed(&mut self) -> Result<(usize, Duration)> {
        let Setup { material, level, disk, .. } = self.setup;
        let clock = self.clock;
        let clocked = |work: &mut dyn FnMut() -> Result<usize>| clocked(clock, work);
        let (at, buffer) = (self.at, &mut self.buffer);
        self.at += 1;
        let chunk = &material.chunks[at % material.chunks.len()];
        let encoded = match self.part {
            Part::Decompress | Part::Seal => {
                let all = material.encoded(level);
                all.get(at % all.len().max(1))
            }
            _ => None,
        };
        match (self.part, encoded) {
            (Part::Read, _) => {
                let Some((source, pieces)) = &self.reading else { return Err(Error::Poisoned) };
                let (offset, length) = pieces[at % pieces.len()];
                clocked(&mut || disk.read(source, offset, &mut buffer[..length]).map(|()| length))
            }
            (Part::Scan, _) => {
                // Zeros: what is not zero shows that with its first bytes.
                buffer.resize(PIECE_BYTES, 0);
                clocked(&mut || {
                    black_box(is_zero(black_box(buffer)));
                    Ok(buffer.len())
                })
            }
            (Part::Copy, _) => {
                buffer.resize(chunk.len(), 0);
                clocked(&mut || {
                    buffer.copy_from_slice(chunk);
                    black_box(&buffer);
                    Ok(chunk.len())
                })
            }
            (Part::Hash, _) => {
                touch(chunk);
                clocked(&mut || {
                    black_box(material.keys.record_id(IdKind::Chunk, chunk));
                    Ok(chunk.len())
                })
            }
            (Part::Compress, _) => {
                touch(chunk);
                buffer.resize(chunk.len(), 0);
                clocked(&mut || {
                    black_box(encode(chunk, level.into(), buffer));
                    Ok(chunk.len())
                })
            }
            (Part::Decompress, Some(encoded)) => {
                touch(&encoded.bytes);
                clocked(&mut || {
                    let whole = decode(encoded.encoding, &encoded.bytes, encoded.plain_bytes, buffer);
                    if whole { Ok(encoded.plain_bytes as usize) } else { Err(Error::Poisoned) }
                })
            }
            (Part::Seal, Some(encoded)) => {
                record(encoded, buffer);
                clocked(&mut || {
                    let (kind, number) = (RecordType::Chunk, u32::try_from(at).unwrap_or(u32::MAX));
                    let plain_bytes = encoded.plain_bytes;
                    let sealed =
                        material.seal.seal_record(number, kind, encoded.encoding, plain_bytes, &material::ID, buffer);
                    black_box(sealed);
                    Ok(buffer.len() - RECORD_HEADER_BYTES)
                })
            }
            (Part::Open, _) => {
                let sealed = &material.sealed[at % material.sealed.len()];
                buffer.clear();
                buffer.extend_from_slice(&sealed.payload);
                clocked(&mut || {
                    black_box(material.seal.open_payload(&sealed.header, &material::ID, 0, buffer)?);
                    Ok(sealed.payload.len())
                })
            }
            (Part::Parity, _) => {
                let Some((maker, header, bytes)) = &mut self.protecting else { return Err(Error::Poisoned) };
                let read = |offset: u64, buffer: &mut [u8]| {
                    let start = usize::try_from(offset).unwrap_or(usize::MAX);
                    let piece = bytes.get(start..).and_then(|rest| rest.get(..buffer.len())).ok_or(Error::Poisoned)?;
                    buffer.copy_from_slice(piece);
                    Ok(())
                };
                clocked(&mut || maker.make(header, &read, &Nowhere).map(|()| bytes.len()))
            }
            (Part::Write, _) => self.write(chunk),
            (Part::Decompress | Part::Seal, None) => Err(Error::Poisoned),
        }
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(usize, Duration)> {
        let Some((file, path, offset)) = &mut self.writing else { return Err(Error::Poisoned) };
        if *offset >= WRITE_BYTES {
            file.set_len(0).map_err(failed("empty", path))?;
            *offset = 0;
        }
        let timed = clocked(thread_time, &mut || {
            file.write_all_at(chunk, *offset).map_err(failed("write", path))?;
            Ok(chunk.len())
        });
        *offset += chunk.len() as u64;
        timed
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let Some((_, path, _)) = &self.writing {
            // It goes with its directory at the latest.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Brings bytes into the core's caches, where the stage before leaves them in a pipeline.
fn touch(bytes: &[u8]) {
    black_box(bytes.iter().step_by(64).fold(0, |any, byte| any | byte));
}

/// Runs a call by a clock.
fn clocked(clock: fn() -> Duration, work: &mut dyn FnMut() -> Result<usize>) -> Result<(usize, Duration)> {
    let began = clock();
    let bytes = work()?;
    Ok((bytes, clock().saturating_sub(began)))
}

/// Time that passes.
fn elapsed_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

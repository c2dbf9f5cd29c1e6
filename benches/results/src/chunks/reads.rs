//! Reading one disk through the tree: pages here and there, and from front to end.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use icecore::source::{RawSource, Source};
use icecore_fixtures::Rng;
use icecore_fuse::ReadOnlyTree;

use crate::engine;
use crate::pages::{PAGE_BYTES, Pages};

/// Pages that one thread reads; four threads read twice as many.
const READS: usize = 10_000;

/// Of these, what came is compared with the disk.
const COMPARED: usize = 1000;

/// Bytes read at a time from front to end, as a kernel's read-ahead asks for them.
const SEQUENTIAL_BYTES: usize = 128 << 10;

/// Rates of a fresh vault's tree.
pub struct Rates {
    /// Pages a second, by one thread, the vault's files not in memory.
    pub cold_1: f64,
    /// The same by four threads.
    pub cold_4: f64,
    /// By one thread, the vault's files in memory: what decoding takes.
    pub warm_1: f64,
    /// By four threads.
    pub warm_4: f64,
    /// Bytes of data a second from front to end by one thread, the vault's files in memory.
    pub sequential: f64,
}

/// Measures the rates on the disk `os` of a machine's newest point, which is a backup of `disk`.
pub fn measure(vault: &Path, machine: &str, disk: &Path, pages: &Pages) -> Result<Rates> {
    let rate = |threads, seed, cold: bool| {
        if cold {
            engine::forget_below(vault)?;
        }
        random(vault, machine, threads, seed, pages)
    };
    let (cold_1, cold_4) = (rate(1, 1, true)?, rate(4, 2, true)?);
    compare(vault, machine, disk, pages)?;
    let sequential = sequential(vault, machine)?;
    Ok(Rates { cold_1, cold_4, warm_1: rate(1, 1, false)?, warm_4: rate(4, 2, false)?, sequential })
}

fn random(vault: &Path, machine: &str, threads: usize, seed: u64, pages: &Pages) -> Result<f64> {
    let mut random = Rng::labelled(seed, b"random reads");
    let count = if threads == 1 { READS } else { READS * 2 };
    let places: Vec<u64> = (0..count).map(|_| pages.random(&mut random)).collect();
    let opened = engine::open(vault)?;
    let tree = opened.tree();
    let node = engine::node(&tree, &[machine, &opened.point(machine, "latest")?.name, "disks", "os.raw"])?;
    let next = AtomicUsize::new(0);
    let read = || -> Result<()> {
        let mut page = [0; PAGE_BYTES];
        while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            tree.read(node, *place, &mut page)?;
        }
        Ok(())
    };
    let (result, seconds) = engine::timed(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
        })
    });
    result?;
    Ok(count as f64 / seconds)
}

fn sequential(vault: &Path, machine: &str) -> Result<f64> {
    let opened = engine::open(vault)?;
    let point = opened.point(machine, "latest")?;
    let tree = opened.tree();
    let node = engine::node(&tree, &[machine, &point.name, "disks", "os.raw"])?;
    let map = opened.disk(&point, "os")?;
    let mut buffer = vec![0; SEQUENTIAL_BYTES];
    let (mut at, mut bytes) = (0, 0);
    let (result, seconds) = engine::timed(|| -> Result<()> {
        while let Some(extent) = map.extent(at)? {
            at = if extent.data { extent.start } else { extent.end };
            while extent.data && at < extent.end {
                let length = buffer.len().min((extent.end - at) as usize);
                let read = tree.read(node, at, &mut buffer[..length])? as u64;
                (at, bytes) = (at + read, bytes + read);
            }
        }
        Ok(())
    });
    result?;
    Ok(bytes as f64 / seconds)
}

fn compare(vault: &Path, machine: &str, disk: &Path, pages: &Pages) -> Result<()> {
    let opened = engine::open(vault)?;
    let map = opened.disk(&*opened.point(machine, "latest")?, "os")?;
    let source = RawSource::open(disk)?;
    let mut random = Rng::labelled(1, b"random reads");
    let (mut here, mut there) = ([0; PAGE_BYTES], [0; PAGE_BYTES]);
    for _ in 0..COMPARED {
        let place = pages.random(&mut random);
        map.read(place, &mut here)?;
        source.read_at(place, &mut there)?;
        ensure!(here == there, "the page at {place} is not what was backed up");
    }
    Ok(())
}

//! Disks that lie in memory, and disks that fail, shrink, change or wait while they are read.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use icecore::source::Source;

/// A disk in memory.
pub struct Memory {
    pub bytes: Vec<u8>,
}

fn copy(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let length = buffer.len().min(bytes.len() - start);
    buffer[..length].copy_from_slice(&bytes[start..start + length]);
    length
}

impl Source for Memory {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(copy(&self.bytes, offset, buffer))
    }
}

/// A disk of which some ranges give EIO.
pub struct Failing {
    pub bytes: Vec<u8>,
    pub bad: Vec<Range<u64>>,
}

impl Source for Failing {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let end = offset + buffer.len() as u64;
        if self.bad.iter().any(|bad| bad.start < end && offset < bad.end) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(copy(&self.bytes, offset, buffer))
    }
}

/// A disk of which the nth call fails, once or for ever after.
pub struct Faulty {
    pub bytes: Vec<u8>,
    /// From 1; 0 for none.
    pub nth: u64,
    pub for_ever: bool,
    pub errno: i32,
    pub calls: Arc<AtomicU64>,
}

impl Faulty {
    fn call(&self) -> io::Result<()> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.nth != 0 && (number == self.nth || (self.for_ever && number > self.nth)) {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        Ok(())
    }
}

impl Source for Faulty {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.call().map(|()| copy(&self.bytes, offset, buffer))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.call().map(|()| (offset < self.size_bytes()).then_some(offset..self.size_bytes()))
    }
}

/// A disk that ends earlier than it said, from some moment on.
pub struct Shrinking {
    pub bytes: Vec<u8>,
    pub left: usize,
}

impl Source for Shrinking {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(copy(&self.bytes[..self.left], offset, buffer))
    }
}

/// A disk that is different at every read: each byte is the number of the read.
pub struct Changing {
    pub size: u64,
    pub reads: AtomicU64,
}

impl Source for Changing {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn read_at(&self, _: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = (number as u8).wrapping_add((at / 700) as u8);
        }
        Ok(buffer.len())
    }
}

/// A gate that readers stop at.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Blocks until somebody stands at the gate.
    pub fn wait_reached(&self) {
        let mut state = self.state.lock().expect("gate");
        while !state.0 {
            state = self.changed.wait(state).expect("gate");
        }
    }

    pub fn open(&self) {
        self.state.lock().expect("gate").1 = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("gate");
        state.0 = true;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).expect("gate");
        }
    }
}

/// A disk whose readers wait at a gate once they come to `at`.
pub struct Gated {
    pub bytes: Vec<u8>,
    pub at: u64,
    pub gate: Arc<Gate>,
}

impl Source for Gated {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset + buffer.len() as u64 > self.at {
            self.gate.pass();
        }
        Ok(copy(&self.bytes, offset, buffer))
    }
}

/// A disk while which is read something happens, once a read comes to `at`.
pub struct Meanwhile<F> {
    bytes: Vec<u8>,
    at: u64,
    happens: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send> Meanwhile<F> {
    pub fn new(bytes: Vec<u8>, happens: F) -> Self {
        Self::at(0, bytes, happens)
    }

    pub fn at(at: u64, bytes: Vec<u8>, happens: F) -> Self {
        Self { bytes, at, happens: Mutex::new(Some(happens)) }
    }
}

impl<F: FnOnce() + Send> Source for Meanwhile<F> {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset >= self.at
            && let Some(happens) = self.happens.lock().expect("a lock").take()
        {
            happens();
        }
        Ok(copy(&self.bytes, offset, buffer))
    }
}

//! A vault's objects in memory.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use icecore::error::{Damage, Problem};
use icecore::media::{Lock, LockKind, Media, Object, ObjectWriter};
use icecore::{Error, Result};

type Objects = Arc<Mutex<BTreeMap<String, Arc<Vec<u8>>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Objects that a target put there, and those that the engine makes of them.
#[derive(Default)]
pub struct Memory(Objects);

impl Memory {
    /// Adds a published object.
    pub fn put(&self, name: String, bytes: Vec<u8>) {
        lock(&self.0).insert(name, Arc::new(bytes));
    }
}

struct Stored {
    name: String,
    bytes: Arc<Vec<u8>>,
}

struct Writing {
    name: String,
    bytes: Mutex<Vec<u8>>,
    objects: Objects,
}

fn damaged(name: &str, problem: Problem) -> Error {
    Error::Damaged(Damage { object: name.to_owned(), offset: 0, problem })
}

impl Object for Stored {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = self.bytes.get(start..start.saturating_add(buffer.len()));
        let expected = offset.saturating_add(buffer.len() as u64);
        let short = || damaged(&self.name, Problem::Length { expected, found: self.length() });
        buffer.copy_from_slice(part.ok_or_else(short)?);
        Ok(())
    }
}

impl ObjectWriter for Writing {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut stored = lock(&self.bytes);
        let start = usize::try_from(offset).expect("what a target writes is small");
        let end = start + bytes.len();
        if stored.len() < end {
            stored.resize(end, 0);
        }
        stored[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_back(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let stored = Stored { name: self.name.clone(), bytes: Arc::new(lock(&self.bytes).clone()) };
        stored.read_exact_at(offset, buffer)
    }

    fn start_writeback(&self, _: u64, _: u64) {}

    fn drop_cached(&self) {}

    fn publish(&self) -> Result<bool> {
        let bytes = std::mem::take(&mut *lock(&self.bytes));
        Ok(lock(&self.objects).insert(self.name.clone(), Arc::new(bytes)).is_none())
    }

    fn replace(&self) -> Result<()> {
        self.publish().map(drop)
    }
}

impl Media for Memory {
    fn location(&self) -> &Path {
        Path::new("memory")
    }

    fn create(&self, name: &str) -> Result<Arc<dyn ObjectWriter>> {
        let objects = Arc::clone(&self.0);
        Ok(Arc::new(Writing { name: name.to_owned(), bytes: Mutex::default(), objects }))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn Object>> {
        let bytes = lock(&self.0).get(name).cloned().ok_or_else(|| damaged(name, Problem::Absent))?;
        Ok(Arc::new(Stored { name: name.to_owned(), bytes }))
    }

    fn exists(&self, name: &str) -> Result<bool> {
        Ok(lock(&self.0).contains_key(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = format!("{folder}/");
        Ok(lock(&self.0).keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
    }

    fn list_folders(&self, _: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn sync_folder(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        lock(&self.0).remove(name);
        Ok(())
    }

    /// Nobody else is there, and no target takes a lock.
    fn lock(&self, _: &str, _: LockKind, _: bool) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn lock_parts(&self, _: &str, _: RangeInclusive<u64>, _: LockKind) -> Result<Option<Lock>> {
        Ok(None)
    }

    fn not_laid_out(&self, _: &[&str], _: &[&str]) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn lay_out(&self, _: &[&str], _: &[&str]) -> Result<()> {
        Ok(())
    }

    fn clear_abandoned(&self) -> Result<usize> {
        Ok(0)
    }
}

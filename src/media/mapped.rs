//! A file read through a shared read-only map, which may break at any moment.
//!
//! Promises: bytes that a read returns were in the file, and no fault of the file or its medium ends the process. Once a
//! map is broken, because the file was cut short or the medium did not give a page, it says so for good, and its file is
//! to be read with `pread`, which tells what is true now: the bytes, fewer of them, or an error.
//!
//! One thing it can't tell: of a file that was cut short within a page, the kernel shows the rest of that page as zeros.
//! They are the file's bytes as far as a map goes; whoever authenticates what it reads refuses them.

use std::fs::File;
use std::ptr;

use memmap2::Mmap;

use super::sigbus::Guard;

/// A map of a whole file.
pub(super) struct Mapped {
    /// Before the map, so that it is dropped first: an address that was given back may soon be somebody else's.
    guard: Guard,
    map: Mmap,
}

impl Mapped {
    /// Maps a file as long as it is now. None where that can't be done, or not without danger.
    pub(super) fn new(file: &File) -> Option<Self> {
        // SAFETY: no reference to the bytes is kept or looked through: they are copied out by address, in one place, and
        // believed only after. What a change of the file from outside does to the copy is found by authentication; what
        // the lack of a page does, by the guard.
        let map = unsafe { Mmap::map(file) }.ok()?;
        Some(Self { guard: Guard::new(&map)?, map })
    }

    /// Copies into `buffer` from `offset` on; returns how much that was, fewer than asked only at the end. None where the
    /// map is broken: the buffer then holds anything.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let length = self.map.len();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
        let count = (length - start).min(buffer.len());
        // SAFETY: both ranges are inside what they point to, and a buffer is no part of a map. A page that is missing is
        // replaced while the copy waits.
        unsafe { ptr::copy_nonoverlapping(self.map.as_ptr().add(start), buffer.as_mut_ptr(), count) };
        (!self.guard.is_broken()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Mapped;
    use crate::media::files::{self, Files, SystemFiles};

    /// Larger than a page, on every machine that there is.
    const PIECE: usize = 64 << 10;

    const PIECES: usize = 16;

    fn filled(path: &Path) -> File {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
        file.write_all_at(&[0xa5; PIECES * PIECE], 0).expect("written");
        file
    }

    /// Makes the first `pieces` pieces all that there is.
    fn cut(file: &File, pieces: usize) {
        file.set_len((pieces * PIECE) as u64).expect("cut");
    }

    fn read(file: &dyn files::File, piece: usize, length: usize) -> usize {
        let mut buffer = vec![0x11; length];
        let count = file.read_at((piece * PIECE) as u64, &mut buffer).expect("no error");
        assert!(buffer[..count].iter().all(|byte| *byte == 0xa5), "other bytes than the file's");
        count
    }

    #[test]
    fn a_file_that_was_cut_short_below_its_map_ends_where_it_ends_now() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("file");
        let writer = filled(&path);
        let file = SystemFiles.open(&path, true).expect("opened");
        assert_eq!(read(file.as_ref(), 0, PIECES * PIECE), PIECES * PIECE);
        cut(&writer, 4);
        assert_eq!(read(file.as_ref(), 5, PIECE), 0, "behind the end");
        assert_eq!(read(file.as_ref(), 2, 4 * PIECE), 2 * PIECE, "across the end");
        assert_eq!(read(file.as_ref(), 0, 4 * PIECE), 4 * PIECE, "before the end");
        filled(&path);
        assert_eq!(read(file.as_ref(), 5, PIECE), PIECE, "what is there again is read again");
    }

    #[test]
    fn a_broken_map_stays_broken_for_all_its_readers_and_for_them_only() {
        let folder = tempfile::tempdir().expect("a directory");
        let [writer, beside] = ["file", "beside"].map(|name| filled(&folder.path().join(name)));
        let [map, other] = [&writer, &beside].map(|file| Mapped::new(file).expect("a map"));
        let mut buffer = vec![0; PIECE];
        let mut read = |map: &Mapped, piece: usize| map.read_at((piece * PIECE) as u64, &mut buffer);
        assert_eq!((read(&map, 15), read(&other, 15)), (Some(PIECE), Some(PIECE)));
        cut(&writer, 1);
        assert_eq!(read(&map, 0), Some(PIECE), "what is still there is no fault");
        assert_eq!(read(&map, 1), None);
        filled(&folder.path().join("file"));
        assert_eq!(read(&map, 0), None, "zeros are where bytes were");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| map.read_at(0, &mut [0; 10]));
            assert_eq!(second.join().expect("a reader"), None);
        });
        assert_eq!(read(&other, 15), Some(PIECE));
        let again = Mapped::new(&writer).expect("a map");
        assert_eq!(read(&again, 15), Some(PIECE));
        drop(map);
        assert_eq!((read(&again, 1), read(&other, 1)), (Some(PIECE), Some(PIECE)));
    }

    #[test]
    fn many_readers_of_files_that_are_cut_get_the_bytes_or_an_end() {
        const FILES: usize = 4;
        let folder = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = (0..FILES).map(|number| folder.path().join(number.to_string())).collect();
        let mut short = 0;
        for _ in 0..30 {
            let writers: Vec<File> = paths.iter().map(|path| filled(path)).collect();
            let open = |path| SystemFiles.open(path, true).expect("opened");
            let files: Vec<Arc<dyn files::File>> = paths.iter().map(|path| open(path)).collect();
            let cut_all = AtomicBool::new(false);
            short += std::thread::scope(|scope| {
                let readers: Vec<_> = (0..2 * FILES)
                    .map(|number| {
                        let (files, paths, cut_all) = (&files, &paths, &cut_all);
                        scope.spawn(move || {
                            let mut short = 0;
                            loop {
                                let last = cut_all.load(Ordering::Acquire);
                                for (file, path) in files.iter().zip(paths) {
                                    short += usize::from(read(file.as_ref(), number, 3 * PIECE) < 3 * PIECE);
                                    // A map that comes and goes between the others.
                                    read(open(path).as_ref(), number, PIECE);
                                }
                                if last {
                                    return short;
                                }
                            }
                        })
                    })
                    .collect();
                writers.iter().for_each(|writer| cut(writer, 1));
                cut_all.store(true, Ordering::Release);
                readers.into_iter().map(|reader| reader.join().expect("a reader")).sum::<usize>()
            });
        }
        assert!(short >= 30 * 2 * FILES * FILES, "each reader meets each end: {short}");
    }
}

#[cfg(test)]
#[path = "mapped_process.rs"]
mod process;

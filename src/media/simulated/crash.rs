//! What a power cut may leave of a simulated disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Image, Node, Operation, SECTOR_BYTES, Trace};

/// The disk at one moment of a trace, as power loss sees it: what is durable, and what may or may not be.
#[derive(Clone)]
pub struct Crash<'a> {
    trace: &'a Trace,
    /// Calls that were made.
    made: usize,
    /// Durable content by number: nothing where the number was not given out yet.
    durable: Vec<Option<Durable>>,
    /// Changes that no sync made durable yet, in the order in which they were made.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Durable {
    Directory(BTreeMap<String, Node>),
    File(Vec<u8>),
}

#[derive(Clone)]
enum Change {
    Write { node: Node, offset: u64, bytes: Arc<[u8]> },
    Name { directory: Node, name: String, node: Node },
    Unname { directory: Node, name: String },
}

/// Which of the pending changes a power cut leaves. Numbers count them in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// None.
    Nothing,
    /// All: what a killed process leaves.
    Everything,
    /// This many, the oldest.
    First(usize),
    /// All but one.
    Without(usize),
    /// One alone.
    Only(usize),
    /// All before this write, and of itself its first sectors.
    Torn {
        /// The write.
        write: usize,
        /// How many of its sectors.
        sectors: u64,
    },
    /// Names and lengths; the content that was written reads as zeros.
    Lengths,
    /// Names; content and lengths are as of the last sync.
    Names,
    /// Content and lengths; names are as of the last sync.
    Content,
    /// Any part: each name and each sector by a throw of the dice.
    Random(u64),
}

/// What is left of one change.
enum Part {
    Nothing,
    Whole,
    /// The length that a write led to, without its bytes.
    Length,
    /// The first sectors of a write.
    Sectors(u64),
    /// Sectors of a write by the dice that this seeds.
    Dice(u64),
}

impl<'a> Crash<'a> {
    /// The moment before the first call.
    pub fn before(trace: &'a Trace) -> Self {
        let mut durable: Vec<Option<Durable>> = Vec::new();
        for (node, path) in trace.nodes_before.iter().enumerate() {
            durable.push(Some(match trace.before.files.get(path) {
                Some(bytes) => Durable::File(bytes.to_vec()),
                None => Durable::Directory(BTreeMap::new()),
            }));
            let parent = path.parent().and_then(|parent| trace.nodes_before.iter().position(|other| other == parent));
            if let (Some(parent), Some(name)) = (parent, path.file_name())
                && let Some(Some(Durable::Directory(entries))) = durable.get_mut(parent)
            {
                entries.insert(name.to_string_lossy().into_owned(), node);
            }
        }
        Self { trace, made: 0, durable, pending: Vec::new() }
    }

    /// Calls made so far.
    pub fn made(&self) -> usize {
        self.made
    }

    /// Number of changes that may be lost now.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Goes on by one call and returns it; nothing at the end of the trace.
    pub fn step(&mut self) -> Option<&'a Operation> {
        let operation = self.trace.operations.get(self.made)?;
        self.made += 1;
        match operation {
            Operation::Create { directory, name, node } => {
                self.born(*node, Durable::File(Vec::new()));
                self.pending.push(Change::Name { directory: *directory, name: name.clone(), node: *node });
            }
            Operation::MakeDirectory { directory, name, node } => {
                self.born(*node, Durable::Directory(BTreeMap::new()));
                self.pending.push(Change::Name { directory: *directory, name: name.clone(), node: *node });
            }
            Operation::Write { node, offset, bytes } => {
                self.pending.push(Change::Write { node: *node, offset: *offset, bytes: Arc::clone(bytes) });
            }
            Operation::Rename { from, to, node } => {
                self.pending.push(Change::Name { directory: to.0, name: to.1.clone(), node: *node });
                self.pending.push(Change::Unname { directory: from.0, name: from.1.clone() });
            }
            Operation::Remove { directory, name } => {
                self.pending.push(Change::Unname { directory: *directory, name: name.clone() });
            }
            Operation::Sync { node } | Operation::SyncDirectory { node } => self.sync(*node),
            Operation::Note(_) => {}
        }
        Some(operation)
    }

    fn born(&mut self, node: Node, content: Durable) {
        if self.durable.len() <= node {
            self.durable.resize(node + 1, None);
        }
        self.durable[node] = Some(content);
    }

    /// Makes durable what is pending of one file or directory.
    fn sync(&mut self, synced: Node) {
        let of_it = |change: &mut Change| match change {
            Change::Write { node, .. } => *node == synced,
            Change::Name { directory, .. } | Change::Unname { directory, .. } => *directory == synced,
        };
        let drained: Vec<Change> = self.pending.extract_if(.., of_it).collect();
        for change in drained {
            apply(&mut self.durable, &change, &Part::Whole);
        }
    }

    /// The ways in which power loss can leave the disk now, with so many throws of the dice.
    pub fn ways(&self, throws: u64) -> Vec<Left> {
        let mut ways = vec![Left::Nothing, Left::Everything, Left::Lengths, Left::Names, Left::Content];
        for (number, change) in self.pending.iter().enumerate() {
            ways.extend([Left::First(number), Left::Without(number), Left::Only(number)]);
            if let Change::Write { offset, bytes, .. } = change {
                let sectors = sectors(*offset, bytes.len()).count() as u64;
                for torn in [1, sectors / 2, sectors.saturating_sub(1)] {
                    if (1..sectors).contains(&torn) && ways.last() != Some(&Left::Torn { write: number, sectors: torn })
                    {
                        ways.push(Left::Torn { write: number, sectors: torn });
                    }
                }
            }
        }
        // The moment is part of the seed: the same throw at another moment must be another.
        ways.extend((0..throws).map(|throw| Left::Random(self.made as u64 * 1_000_003 + throw)));
        ways
    }

    /// What the disk holds after power was lost now in this way.
    pub fn image(&self, left: Left) -> Image {
        let mut nodes = self.durable.clone();
        for (number, change) in self.pending.iter().enumerate() {
            let is_write = matches!(change, Change::Write { .. });
            let kept = |kept: bool| if kept { Part::Whole } else { Part::Nothing };
            let part = match left {
                Left::Nothing => Part::Nothing,
                Left::Everything => Part::Whole,
                Left::First(count) => kept(number < count),
                Left::Without(one) => kept(number != one),
                Left::Only(one) => kept(number == one),
                Left::Torn { write, sectors } if number == write => Part::Sectors(sectors),
                Left::Torn { write, .. } => kept(number < write),
                Left::Lengths if is_write => Part::Length,
                Left::Lengths | Left::Names => kept(!is_write),
                Left::Content => kept(is_write),
                Left::Random(seed) if is_write => Part::Dice(mixed(seed, number as u64)),
                Left::Random(seed) => kept(mixed(seed, number as u64) & 1 == 1),
            };
            apply(&mut nodes, change, &part);
        }
        let mut image = Image::default();
        collect(&nodes, 0, Path::new("/"), &mut image);
        image
    }
}

fn apply(nodes: &mut [Option<Durable>], change: &Change, part: &Part) {
    if matches!(part, Part::Nothing) {
        return;
    }
    match change {
        Change::Write { node, offset, bytes } => {
            let Some(Some(Durable::File(content))) = nodes.get_mut(*node) else { return };
            for (number, range) in (0_u64..).zip(sectors(*offset, bytes.len())) {
                let (grows, keeps) = match part {
                    Part::Sectors(count) => (number < *count, number < *count),
                    Part::Length => (true, false),
                    // Of each sector: its bytes, its length alone, or neither.
                    Part::Dice(seed) => match mixed(*seed, number) % 8 {
                        0..4 => (true, true),
                        4 => (true, false),
                        _ => (false, false),
                    },
                    Part::Whole | Part::Nothing => (true, true),
                };
                let start = usize::try_from(*offset).expect("it was written to memory") + range.start;
                let end = start + range.len();
                if grows && content.len() < end {
                    content.resize(end, 0);
                }
                if keeps {
                    content[start..end].copy_from_slice(&bytes[range]);
                }
            }
        }
        Change::Name { directory, name, node } => {
            if let Some(Some(Durable::Directory(entries))) = nodes.get_mut(*directory) {
                entries.insert(name.clone(), *node);
            }
        }
        Change::Unname { directory, name } => {
            if let Some(Some(Durable::Directory(entries))) = nodes.get_mut(*directory) {
                entries.remove(name);
            }
        }
    }
}

/// The parts of a write that a disk writes whole or not at all, as ranges of its bytes.
fn sectors(offset: u64, length: usize) -> impl Iterator<Item = Range<usize>> {
    let sector = usize::try_from(SECTOR_BYTES).expect("small");
    let first = sector - usize::try_from(offset % SECTOR_BYTES).expect("small");
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = if start == 0 { first } else { start + sector }.min(length);
        let range = start..end;
        start = end;
        (!range.is_empty()).then_some(range)
    })
}

/// A number that looks random and follows from two others (the finalizer of SplitMix64).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut mixed = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn collect(nodes: &[Option<Durable>], directory: Node, path: &Path, image: &mut Image) {
    let Some(Some(Durable::Directory(entries))) = nodes.get(directory) else { return };
    for (name, node) in entries {
        let path: PathBuf = path.join(name);
        match nodes.get(*node) {
            Some(Some(Durable::File(bytes))) => {
                image.files.insert(path, Arc::new(bytes.clone()));
            }
            Some(Some(Durable::Directory(_))) => {
                image.directories.insert(path.clone());
                collect(nodes, *node, &path, image);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Crash, Left};
    use crate::media::files::Files;
    use crate::media::simulated::{Image, SimulatedFiles, Trace};

    fn at_the_end(trace: &Trace) -> Crash<'_> {
        let mut crash = Crash::before(trace);
        while crash.step().is_some() {}
        crash
    }

    fn paths(image: &Image) -> Vec<&str> {
        image.files.keys().map(|path| path.to_str().expect("text")).collect()
    }

    #[test]
    fn what_was_not_synced_may_be_lost_and_what_was_may_not() {
        let disk = SimulatedFiles::new();
        let file = disk.create_new(Path::new("/one")).expect("created");
        file.write_at(0, &[1; 700]).expect("written");
        file.sync().expect("synced");
        file.write_at(700, &[2; 100]).expect("written");
        let trace = disk.trace();
        let crash = at_the_end(&trace);
        assert_eq!(paths(&crash.image(Left::Nothing)), [] as [&str; 0], "its name was never synced");
        let named = crash.image(Left::Names);
        assert_eq!(**named.files.values().next().expect("a file"), vec![1; 700]);
        let all = crash.image(Left::Everything);
        assert_eq!(**all.files.values().next().expect("a file"), [vec![1; 700], vec![2; 100]].concat());
        let lengths = crash.image(Left::Lengths);
        assert_eq!(**lengths.files.values().next().expect("a file"), [vec![1; 700], vec![0; 100]].concat());
        disk.sync_directory(Path::new("/")).expect("synced");
        let trace = disk.trace();
        assert_eq!(paths(&at_the_end(&trace).image(Left::Nothing)), ["/one"]);
    }

    #[test]
    fn a_write_is_torn_at_the_sectors_of_the_disk() {
        let disk = SimulatedFiles::new();
        let file = disk.create_new(Path::new("/one")).expect("created");
        disk.sync_directory(Path::new("/")).expect("synced");
        file.write_at(500, &[7; 1000]).expect("written");
        let trace = disk.trace();
        let crash = at_the_end(&trace);
        for (sectors, length) in [(1, 512), (2, 1024)] {
            let image = crash.image(Left::Torn { write: 0, sectors });
            let content = &image.files[Path::new("/one")];
            assert_eq!(content.len(), length);
            assert!(content[..500].iter().all(|byte| *byte == 0) && content[500..].iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn each_half_of_a_rename_belongs_to_its_directory() {
        let disk = SimulatedFiles::new();
        for folder in ["/a", "/b"] {
            disk.make_directory(Path::new(folder)).expect("made");
        }
        disk.sync_directory(Path::new("/")).expect("synced");
        drop(disk.create_new(Path::new("/a/x")).expect("created"));
        disk.sync_directory(Path::new("/a")).expect("synced");
        disk.rename_new(Path::new("/a/x"), Path::new("/b/y")).expect("renamed");
        let trace = disk.trace();
        let crash = at_the_end(&trace);
        assert_eq!(paths(&crash.image(Left::Nothing)), ["/a/x"]);
        assert_eq!(paths(&crash.image(Left::Everything)), ["/b/y"]);
        assert_eq!(paths(&crash.image(Left::Only(0))), ["/a/x", "/b/y"]);
        disk.sync_directory(Path::new("/b")).expect("synced");
        let trace = disk.trace();
        assert_eq!(paths(&at_the_end(&trace).image(Left::Nothing)), ["/a/x", "/b/y"]);
    }

    #[test]
    fn a_name_that_is_replaced_leads_to_the_old_file_or_the_new_one() {
        let disk = SimulatedFiles::new();
        for (path, bytes) in [("/old", b"old"), ("/new", b"new")] {
            let file = disk.create_new(Path::new(path)).expect("created");
            file.write_at(0, bytes).expect("written");
            file.sync().expect("synced");
        }
        disk.sync_directory(Path::new("/")).expect("synced");
        disk.rename_over(Path::new("/new"), Path::new("/old")).expect("renamed");
        let trace = disk.trace();
        let crash = at_the_end(&trace);
        let content = |left| crash.image(left).files[Path::new("/old")].to_vec();
        assert_eq!(content(Left::Nothing), b"old");
        assert_eq!(content(Left::Everything), b"new");
        disk.sync_directory(Path::new("/")).expect("synced");
        let trace = disk.trace();
        assert_eq!(paths(&at_the_end(&trace).image(Left::Nothing)), ["/old"]);
        assert_eq!(**at_the_end(&trace).image(Left::Nothing).files.values().next().expect("one"), *b"new");
    }

    #[test]
    fn a_disk_made_of_an_image_begins_with_all_of_it_durable() {
        let disk = SimulatedFiles::new();
        disk.make_directory(Path::new("/a")).expect("made");
        let file = disk.create_new(Path::new("/a/x")).expect("created");
        file.write_at(0, b"kept").expect("written");
        let trace = disk.trace();
        let image = at_the_end(&trace).image(Left::Everything);
        let again = SimulatedFiles::from_image(image.clone()).expect("a whole image");
        assert_eq!(again.open(Path::new("/a/x"), false).expect("opened").length().expect("length"), 4);
        again.remove(Path::new("/a/x")).expect("removed");
        let trace = again.trace();
        let crash = at_the_end(&trace);
        assert_eq!(crash.image(Left::Nothing), image);
        assert_eq!(crash.image(Left::Nothing).hash(), image.hash());
        assert_ne!(crash.image(Left::Everything).hash(), image.hash());
    }
}

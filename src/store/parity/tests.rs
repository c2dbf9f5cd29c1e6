//! Promise 3: within its parity a file is given back byte for byte, whatever is damaged; beyond it, nothing is made up.

use std::path::{Path, PathBuf};

use super::*;
use crate::format::parity::{ParityHeader, SHARD_SIZE_LOG2};
use crate::format::segment;
use crate::media::{DirectoryMedia, Object, ReadMode};

const VAULT: Id = [1; 16];
const SEGMENT: Id = [2; 16];

/// A directory with one file in the place of a segment, and its parity.
struct Bed {
    folder: tempfile::TempDir,
    media: DirectoryMedia,
    bytes: Vec<u8>,
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

impl Bed {
    fn new(length: usize, header: &ParityHeader) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let media = DirectoryMedia::new(folder.path(), ReadMode::Pread);
        media.initialize(&[segment::FOLDER, parity::FOLDER], &[]).expect("folders");
        let bed = Self { folder, media, bytes: noise(length) };
        std::fs::write(bed.segment(), &bed.bytes).expect("written");
        let object = bed.media.create(&parity::object(&SEGMENT)).expect("begun");
        let file = bed.media.open(&segment::object(&SEGMENT)).expect("opened");
        let read = |offset: u64, buffer: &mut [u8]| file.read_exact_at(offset, buffer);
        Maker::new().make(header, &read, object.as_ref()).expect("made");
        assert!(object.publish().expect("published"));
        assert_eq!(std::fs::metadata(bed.parity()).expect("there").len(), header.object_bytes());
        bed
    }

    fn segment(&self) -> PathBuf {
        self.folder.path().join(segment::object(&SEGMENT))
    }

    fn parity(&self) -> PathBuf {
        self.folder.path().join(parity::object(&SEGMENT))
    }

    /// What is read of the segment, in pieces of an odd size.
    fn read(&self) -> Vec<u8> {
        let corrected = Corrected::open(&self.media, Some(&VAULT), &SEGMENT).expect("opened");
        let mut bytes = vec![0; usize::try_from(corrected.length()).expect("small")];
        for (at, piece) in (0..).step_by(9001).zip(bytes.chunks_mut(9001)) {
            corrected.read_exact_at(at, piece).expect("read");
        }
        bytes
    }

    fn survey(&self) -> (u64, bool) {
        Corrected::open(&self.media, Some(&VAULT), &SEGMENT).expect("opened").survey()
    }

    /// Does it to the files, looks, and puts them right again.
    fn with<R>(&self, change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>), look: impl FnOnce() -> R) -> R {
        let kept = [self.segment(), self.parity()].map(|path| (std::fs::read(&path).expect("read"), path));
        let [mut segment, mut parity] = [kept[0].0.clone(), kept[1].0.clone()];
        change(&mut segment, &mut parity);
        write(&kept[0].1, &segment);
        write(&kept[1].1, &parity);
        let result = look();
        kept.iter().for_each(|(bytes, path)| write(path, bytes));
        result
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
}

fn header(length: usize, shard_size_log2: u8, groups: u32, parity_shards: u32) -> ParityHeader {
    let segment_bytes = length as u64;
    ParityHeader { vault: VAULT, segment: SEGMENT, segment_bytes, shard_size_log2, groups, parity_shards }
}

/// The field that FORMAT.md describes, with nothing of the crate's.
mod field {
    const POLYNOMIAL: u32 = 0x1_002d;
    const BASIS: [u16; 16] = [
        0x0001, 0xacca, 0x3c0e, 0x163e, 0xc582, 0xed2e, 0x914c, 0x4012, 0x6c98, 0x10d8, 0x6a72, 0xb900, 0xfdb8, 0xfb34,
        0xff38, 0x991e,
    ];

    /// The element that a number stands for.
    pub fn element(number: u16) -> u16 {
        (0..16).filter(|bit| number >> bit & 1 == 1).fold(0, |sum, bit| sum ^ BASIS[bit as usize])
    }

    pub fn product(a: u16, b: u16) -> u16 {
        let (mut sum, mut a) = (0_u32, u32::from(a));
        for bit in 0..16 {
            if b >> bit & 1 == 1 {
                sum ^= a;
            }
            a <<= 1;
            if a > 0xffff {
                a ^= POLYNOMIAL;
            }
        }
        u16::try_from(sum).expect("reduced")
    }
}

#[test]
fn the_code_is_the_one_that_the_format_describes() {
    for (data, parity_shards) in [(1, 2), (7, 4), (40, 8), (3, 4)] {
        let length = data * 4096 - 100;
        let header = header(length, 12, 1, parity_shards);
        let bed = Bed::new(length, &header);
        let parity = std::fs::read(bed.parity()).expect("read");
        let parity = &parity[usize::try_from(header.shards_offset()).expect("small")..];
        let mut padded = bed.bytes.clone();
        padded.resize(data * 4096, 0);
        let number = |shard: &[u8], place: usize| {
            let block = &shard[place / 32 * 64..][..64];
            u16::from_le_bytes([block[place % 32], block[32 + place % 32]])
        };
        for place in [0, 1, 31, 32, 777, 2047] {
            let of_parity = parity.chunks(4096).take(parity_shards as usize);
            let word: Vec<u16> = of_parity.chain(padded.chunks(4096)).map(|shard| number(shard, place)).collect();
            let mut powers = vec![1; word.len()];
            for power in 0..parity_shards {
                let sum = word.iter().zip(&powers).fold(0, |sum, (c, x)| sum ^ field::product(field::element(*c), *x));
                assert_eq!(sum, 0, "{data} + {parity_shards}, place {place}, power {power}");
                for (x, to) in (0_u16..).zip(&mut powers) {
                    *to = field::product(*to, field::element(x));
                }
            }
        }
    }
}

#[test]
fn any_shards_up_to_the_limit_come_back_and_one_more_is_told() {
    for (length, shard, groups, parity_shards) in [
        (1, 12, 1, 2),
        (4096, 12, 1, 2),
        (50_000, 12, 1, 3),
        (300_001, 12, 4, 5),
        (300_001, 14, 3, 2),
        (70_000, 16, 1, 2),
    ] {
        let header = header(length, shard, groups, parity_shards);
        let bed = Bed::new(length, &header);
        assert_eq!((bed.survey(), bed.read()), ((0, true), bed.bytes.clone()), "nothing is damaged");
        let (size, stride) = (header.shard_bytes(), groups as usize);
        let shards = usize::try_from(header.data_shards()).expect("few");
        // A run over all groups, as long as can be; and so many of one group's.
        let run = (parity_shards as usize * stride).min(shards);
        let last_run: Vec<usize> = (shards - run..shards).collect();
        let one_group: Vec<usize> = (0..shards).step_by(stride).take(parity_shards as usize).collect();
        for damaged in [(0..run).collect(), last_run, one_group] {
            let flip = |segment: &mut Vec<u8>, _: &mut Vec<u8>| {
                damaged.iter().for_each(|shard| segment[shard * size] ^= 1);
            };
            let (survey, read) = bed.with(flip, || (bed.survey(), bed.read()));
            assert_eq!(survey, (damaged.len() as u64, true), "{length} {groups}: {damaged:?}");
            assert!(read == bed.bytes, "{length} {groups}: {damaged:?}");
        }
        let cut = (shards - run) * size;
        let read = bed.with(|segment, _| segment.truncate(cut), || bed.read());
        assert!(read == bed.bytes, "{length} {groups}: cut short to {cut}");
        let grown = bed.with(|segment, _| segment.extend([7; 5000]), || bed.read());
        assert!(grown == bed.bytes, "{length} {groups}: grown");
        let too_many: Vec<usize> = (0..shards).step_by(stride).take(parity_shards as usize + 1).collect();
        if too_many.len() > parity_shards as usize {
            let change = |segment: &mut Vec<u8>, _: &mut Vec<u8>| {
                too_many.iter().for_each(|shard| segment[shard * size] ^= 1);
            };
            let (survey, read, file) =
                bed.with(change, || (bed.survey(), bed.read(), std::fs::read(bed.segment()).expect("read")));
            assert_eq!(survey, (too_many.len() as u64, false));
            assert!(read == file, "what can't be computed is passed on as it is");
        }
    }
}

#[test]
fn damage_of_the_parity_costs_what_is_damaged_and_nothing_else() {
    let header = header(300_001, 12, 2, 4);
    let bed = Bed::new(300_001, &header);
    let shards = usize::try_from(header.shards_offset()).expect("small");
    let second = usize::try_from(header.second_sums_offset()).expect("small");
    let end = usize::try_from(header.object_bytes()).expect("small");
    let parity_shard = |number: usize| shards + number * 4096;
    // What is damaged, where, data shards that are damaged besides, and whether all comes back.
    type Case<'a> = (&'a str, &'a [(usize, usize)], usize, bool);
    let cases: [Case<'_>; 12] = [
        ("the first header", &[(0, 96)], 4, true),
        ("the last header", &[(end - 96, end)], 4, true),
        ("the first checksums and header", &[(0, shards)], 4, true),
        ("the second checksums and header", &[(second, end)], 4, true),
        ("a checksum of both copies, of a whole shard", &[(104, 105), (second + 9, second + 10)], 3, true),
        ("all checksums, half in each copy", &[(96, 96 + 328), (second + 328, end - 96)], 4, true),
        ("one parity shard of each group", &[(parity_shard(0), parity_shard(2))], 3, true),
        ("one parity shard of each group, and one more", &[(parity_shard(0), parity_shard(2))], 4, false),
        ("three parity shards of each group", &[(parity_shard(2), parity_shard(8))], 1, true),
        ("three parity shards of each group, and two more", &[(parity_shard(2), parity_shard(8))], 2, false),
        ("all parity shards", &[(parity_shard(0), parity_shard(8))], 0, true),
        ("all parity shards, and one more", &[(parity_shard(0), parity_shard(8))], 1, false),
    ];
    for (what, ranges, lost_shards, comes_back) in cases {
        let change = |segment: &mut Vec<u8>, parity: &mut Vec<u8>| {
            ranges.iter().for_each(|(from, to)| parity[*from..*to].iter_mut().for_each(|byte| *byte ^= 0x55));
            // Of the first group, but not the shard whose checksum is hit.
            (0..lost_shards).for_each(|number| segment[(4 + 2 * number) * 4096 + 17] ^= 4);
        };
        let (survey, read) = bed.with(change, || (bed.survey(), bed.read()));
        assert_eq!(survey.1, comes_back, "{what}");
        assert_eq!(read == bed.bytes, comes_back || lost_shards == 0, "{what}");
        let damage = bed.with(change, || {
            ParityFile::open(&bed.media, Some(&VAULT), &SEGMENT).expect("one header is whole").check()
        });
        assert!(!damage.is_empty(), "{what} is found");
        assert!(damage.iter().all(|error| error.object() == Some(&parity::object(&SEGMENT))), "{damage:?}");
    }
    for length in [0, 95, 96, shards, parity_shard(5), second, end - 1] {
        let read = bed.with(
            |segment, parity| {
                parity.truncate(length);
                segment[70_000] ^= 1;
            },
            || Corrected::open(&bed.media, Some(&VAULT), &SEGMENT).map(|_| bed.read() == bed.bytes),
        );
        match read {
            Ok(right) => assert_eq!(right, length >= parity_shard(2), "cut to {length}"),
            Err(error) => {
                assert!(length < 96 && error.object() == Some(&parity::object(&SEGMENT)), "{length}: {error}")
            }
        }
    }
}

#[test]
fn parity_of_another_segment_or_vault_is_refused() {
    let bed = Bed::new(5000, &header(5000, 12, 1, 2));
    for (vault, segment) in [(Some([9; 16]), SEGMENT), (Some(VAULT), [3; 16])] {
        write(&bed.folder.path().join(parity::object(&segment)), &std::fs::read(bed.parity()).expect("read"));
        let refused = ParityFile::open(&bed.media, vault.as_ref(), &segment).err();
        assert!(
            matches!(&refused, Some(Error::Damaged(damage)) if matches!(damage.problem, Problem::Misplaced(_))),
            "{refused:?}"
        );
    }
    assert!(ParityFile::open(&bed.media, None, &SEGMENT).is_ok());
}

#[test]
fn plans_keep_to_the_format_and_to_what_was_asked() {
    for percent in [1, 5, 20] {
        for length in [1, 4096, 4097, 100_000, 1 << 20, (64 << 20) + 77, 1 << 30, segment::MOST_SEGMENT_BYTES] {
            let header = plan(&VAULT, &SEGMENT, length, percent);
            assert_eq!(ParityHeader::decode(&header.encode()), Ok(header.clone()), "{length} {percent}");
            assert!(SHARD_SIZE_LOG2.contains(&header.shard_size_log2));
            let (data, parity) = (header.data_shards(), header.all_parity_shards());
            assert!(header.parity_shards >= 2 && parity * 100 >= data * u64::from(percent), "{header:?}");
            let most = (data * u64::from(percent)).div_ceil(100) + 2 * u64::from(header.groups);
            assert!(parity <= most.max(2), "{header:?}: no more than a shard or two for each group");
        }
    }
}

//! Mutations that a test makes without libFuzzer: the same in every run.

/// Numbers that look random, the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Begins a sequence.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// The next number, below `bound`; zero where that is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.number() >> 16) % bound).unwrap_or(0)
    }
}

/// Values that lengths, counts and offsets are worst at.
const EXTREMES: [u64; 14] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFFF,
];

/// Changes `bytes` in one to four ways; `other` is what parts may be spliced in from.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        once(bytes, other, random);
    }
}

fn once(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = place(bytes.len(), random);
    match random.below(9) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.number().to_le_bytes()[7];
            }
        }
        3 | 4 => {
            // A whole field, aligned as fields are.
            let width = 1 << random.below(4);
            let value = EXTREMES[random.below(EXTREMES.len())].to_le_bytes();
            let at = at / width * width;
            if let Some(field) = bytes.get_mut(at..at + width) {
                field.copy_from_slice(&value[..width]);
            }
        }
        5 => {
            // One more or one less than what is there.
            if let Some(byte) = bytes.get_mut(at) {
                *byte = if random.below(2) == 0 { byte.wrapping_add(1) } else { byte.wrapping_sub(1) };
            }
        }
        6 => bytes.truncate(at),
        7 => {
            // A part of another seed over what is there, which may make it longer.
            let from = random.below(other.len());
            let part = &other[from..(from + 1 + random.below(64)).min(other.len())];
            bytes.truncate(bytes.len().max(at));
            let end = (at + part.len()).min(bytes.len());
            bytes.splice(at.min(end)..end, part.iter().copied());
        }
        _ => {
            // A part again, or gone.
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let part = if random.below(2) == 0 { bytes.get(at..end).unwrap_or_default().to_vec() } else { Vec::new() };
            let end = if part.is_empty() { end } else { at };
            bytes.splice(at.min(end)..end, part);
        }
    }
}

/// A place to change: every second one among the first bytes, where lengths and counts lie.
fn place(length: usize, random: &mut Random) -> usize {
    if random.below(2) == 0 { random.below(length.min(128)) } else { random.below(length) }
}

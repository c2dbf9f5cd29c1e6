//! Identifiers as LVM2 makes them: 32 letters and digits, shown in seven groups.

use std::fmt;

/// An identifier of a physical volume, a group or a logical volume.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LvmId([u8; 32]);

/// Letters in each group (LVM2, `lib/uuid/uuid.c`).
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

impl LvmId {
    /// From 32 characters, hyphens between them left out; `None` where LVM2 would not have made them.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut characters = text.iter().copied().filter(|byte| *byte != b'-');
        let mut id = [0; 32];
        for place in &mut id {
            *place = characters.next().filter(|byte| byte.is_ascii_alphanumeric() || b"!#".contains(byte))?;
        }
        characters.next().is_none().then_some(Self(id))
    }

    /// Its first eight characters, to tell apart what has the same name.
    pub fn short(&self) -> String {
        self.0.iter().take(8).copied().map(char::from).collect()
    }
}

impl fmt::Display for LvmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.iter().copied().map(char::from);
        for (group, length) in GROUPS.into_iter().enumerate() {
            if group > 0 {
                f.write_str("-")?;
            }
            characters.by_ref().take(length).try_for_each(|character| write!(f, "{character}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for LvmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

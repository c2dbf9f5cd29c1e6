//! `/etc/fstab`: what the guest mounts where (fstab(5)).

use super::view::names;
use super::{Part, lines};
use crate::guest::GuestFileSystem;

/// Most mounts that are looked at.
const MOST_MOUNTS: usize = 128;

/// One line: what is mounted, and the names that lead to where; none of them for the root.
pub(super) struct Mount {
    pub what: What,
    pub place: Vec<Vec<u8>>,
}

/// How a volume is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Uuid(String),
    Label(String),
    PartitionUuid(String),
    PartitionLabel(String),
    /// `<vg>-<lv>`.
    Mapped(String),
    /// In a way that says nothing here, such as by a disk's place.
    Other,
}

pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    lines(text).filter_map(parse_line).take(MOST_MOUNTS).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let what = unescaped(fields.next().filter(|field| !field.starts_with(b"#"))?);
    let place = unescaped(fields.next().filter(|field| field.starts_with(b"/"))?);
    Some(Mount { what: What::parse(&String::from_utf8_lossy(&what)), place: names(&place).collect() })
}

/// Blanks are written as `\040`: three octal digits.
fn unescaped(mut field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let [first, rest @ ..] = field {
        let code = rest.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        plain.push(code.unwrap_or(*first));
        field = if code.is_some() { rest.get(3..).unwrap_or_default() } else { rest };
    }
    plain
}

impl What {
    fn parse(text: &str) -> Self {
        if let Some((tag, value)) = text.split_once('=') {
            return Self::tagged(tag, value.trim_matches('"'));
        }
        let Some(path) = text.strip_prefix("/dev/") else { return Self::Other };
        match path.split('/').collect::<Vec<_>>().as_slice() {
            ["disk", by, value] => Self::tagged(by, value),
            ["mapper", name] => Self::Mapped((*name).to_owned()),
            [group, volume] => Self::Mapped(format!("{group}-{volume}")),
            _ => Self::Other,
        }
    }

    fn tagged(tag: &str, value: &str) -> Self {
        let value = value.to_owned();
        match tag {
            "UUID" | "by-uuid" => Self::Uuid(value),
            "LABEL" | "by-label" => Self::Label(value),
            "PARTUUID" | "by-partuuid" => Self::PartitionUuid(value),
            "PARTLABEL" | "by-partlabel" => Self::PartitionLabel(value),
            _ => Self::Other,
        }
    }

    /// Whether it is this volume.
    pub(super) fn names<T: GuestFileSystem>(&self, part: &Part<'_, T>) -> bool {
        let info = part.tree.info();
        // The device mapper doubles the dashes of both names.
        let single = |name: &str| name.replace("--", "-");
        match self {
            Self::Uuid(uuid) => info.uuid.is_some_and(|own| own.to_string().eq_ignore_ascii_case(uuid)),
            Self::Label(label) => info.label.as_ref() == Some(label),
            Self::PartitionUuid(uuid) => {
                part.partition_uuid.is_some_and(|own| own.to_string().eq_ignore_ascii_case(uuid))
            }
            Self::PartitionLabel(label) => part.partition_label == Some(label),
            Self::Mapped(name) => single(&part.volume) == single(name),
            Self::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 5. Guards: a volume is found by each way in which an installer names it, and a comment is no mount.
    #[test]
    fn each_way_to_name_a_volume_is_understood() {
        let text =
            b"# / was on /dev/sda1\nUUID=\"AB-1\" / ext4 defaults 0 1\n LABEL=my\\040data\t/srv/my\\040data xfs\n\
            /dev/mapper/vg--1-root /usr ext4\n/dev/vg/var /var//log/ ext4\nPARTUUID=7 /a ext4\nnone /x tmpfs\n\
            PARTLABEL=boot /boot ext4\n/dev/disk/by-uuid/9 none swap\n/dev/sda1 /old ext3\nbroken\n";
        let mounts = parse(text);
        let found: Vec<(String, &What)> = mounts
            .iter()
            .map(|mount| (String::from_utf8_lossy(&mount.place.join(&b'/')).into_owned(), &mount.what))
            .collect();
        let text = str::to_owned;
        let expected = [
            ("", What::Uuid(text("AB-1"))),
            ("srv/my data", What::Label(text("my data"))),
            ("usr", What::Mapped(text("vg--1-root"))),
            ("var/log", What::Mapped(text("vg-var"))),
            ("a", What::PartitionUuid(text("7"))),
            ("x", What::Other),
            ("boot", What::PartitionLabel(text("boot"))),
            ("old", What::Other),
        ];
        assert_eq!(found, expected.iter().map(|(place, what)| (text(place), what)).collect::<Vec<_>>());
    }
}

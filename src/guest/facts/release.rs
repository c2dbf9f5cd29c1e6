//! Which system it is: os-release(5), and what older systems have in its place.

use super::view::View;
use super::{Facts, lines, text};
use crate::guest::GuestFileSystem;

/// Files of one line with the system's name.
const NAMES: [&str; 4] = ["etc/redhat-release", "etc/centos-release", "etc/SuSE-release", "etc/system-release"];

/// Files of one line with nothing but a version.
const VERSIONS: [(&str, &str, &str); 2] =
    [("etc/debian_version", "debian", "Debian GNU/Linux"), ("etc/alpine-release", "alpine", "Alpine Linux")];

impl Facts {
    pub(super) fn read_release<T: GuestFileSystem>(&mut self, view: &View<'_, T>) {
        for path in ["etc/os-release", "usr/lib/os-release"] {
            let Some(file) = self.note(path, view.read(path)) else { continue };
            self.os = value(&file, "PRETTY_NAME").or_else(|| value(&file, "NAME"));
            self.os_id = value(&file, "ID");
            self.version = value(&file, "VERSION_ID");
            if self.os.is_some() || self.os_id.is_some() {
                return;
            }
        }
        for path in NAMES {
            self.os = self.line(view, path);
            if self.os.is_some() {
                return;
            }
        }
        for (path, id, name) in VERSIONS {
            if let Some(version) = self.line(view, path) {
                self.os = text(format!("{name} {version}").as_bytes());
                self.os_id = Some(id.to_owned());
                self.version = Some(version);
                return;
            }
        }
    }
}

/// The value of a variable in a file of assignments as a shell reads them; the last one counts.
pub(super) fn value(file: &[u8], name: &str) -> Option<String> {
    let assigned = |line: &[u8]| unquoted(line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?);
    lines(file).filter_map(assigned).last()
}

/// A value without its quotes; in double ones and outside of any, a backslash takes the next character as it is.
fn unquoted(value: &[u8]) -> Option<String> {
    let mut plain = Vec::new();
    let mut quote = None;
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            (None | Some(b'"'), b'\\') => plain.extend(bytes.next()),
            (None, byte) if byte.is_ascii_whitespace() => break,
            _ => plain.push(byte),
        }
    }
    text(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 5. Guards: a value is what the guest's own shell would take it for.
    #[test]
    fn values_are_read_as_a_shell_reads_them() {
        let file =
            b"# NAME=no\nNAME='A \"B\"'\nID=x\nID=debian # a comment\nPRETTY_NAME=\"a \\\"b\\\" \\$c\"\nEMPTY=\"\"\n";
        let expected = [("NAME", Some("A \"B\"")), ("ID", Some("debian")), ("PRETTY_NAME", Some("a \"b\" $c"))];
        for (name, expected) in expected.into_iter().chain([("EMPTY", None), ("ABSENT", None)]) {
            assert_eq!(value(file, name).as_deref(), expected, "{name}");
        }
    }
}

//! The text that LVM2 writes its metadata in: named values and named sections of them.
//!
//! ```text
//! vg0 {
//!     seqno = 3
//!     status = ["RESIZEABLE", "READ"]
//!     logical_volumes { ... }
//! }
//! ```
//!
//! Bounds on hostile text: sections nest [`DEPTH_MAX`] deep, and there are [`VALUES_MAX`] values; time follows the text's
//! length. Names and texts are not copied.

use std::borrow::Cow;

/// Deeper than any text that LVM2 writes: group, list of volumes, volume, segment.
const DEPTH_MAX: u32 = 8;

/// Values of one text at most, sections included. Ten thousand volumes take some 250,000.
const VALUES_MAX: usize = 1 << 19;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(i64),
    Text(Cow<'a, str>),
    List(Vec<Value<'a>>),
    Section(Section<'a>),
}

impl Value<'_> {
    /// A number that is not negative.
    pub fn number(&self) -> Option<u64> {
        match self {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Named values in the order in which they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Section<'a>(Vec<(&'a str, Value<'a>)>);

impl<'a> Section<'a> {
    pub fn value(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// A number that is not negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.number()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.text()
    }

    /// The values of a list; none where there is no such list.
    pub fn list(&self, name: &str) -> &[Value<'a>] {
        match self.value(name) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }

    /// Whether a list has a text in it.
    pub fn lists(&self, name: &str, text: &str) -> bool {
        self.list(name).iter().any(|value| value.text() == Some(text))
    }

    pub fn section(&self, name: &str) -> Option<&Section<'a>> {
        match self.value(name)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// The sections in it, with their names.
    pub fn sections(&self) -> impl Iterator<Item = (&'a str, &Section<'a>)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((*name, section)),
            _ => None,
        })
    }
}

/// Reads a whole text; `None` where it is none, or exceeds the bounds.
pub(super) fn parse(text: &[u8]) -> Option<Section<'_>> {
    let mut parser = Parser { rest: std::str::from_utf8(text).ok()?, values_left: VALUES_MAX };
    let section = parser.section(0)?;
    // A closing brace that no section opened stays.
    parser.rest.is_empty().then_some(section)
}

struct Parser<'a> {
    rest: &'a str,
    values_left: usize,
}

impl<'a> Parser<'a> {
    /// Goes past white space and comments; the next character, if there is one.
    fn peek(&mut self) -> Option<char> {
        loop {
            // The text on disk ends in a NUL.
            self.rest = self.rest.trim_start_matches(|at: char| at.is_ascii_whitespace() || at == '\0' || at == ',');
            match self.rest.strip_prefix('#') {
                Some(comment) => self.rest = comment.split_once('\n').map_or("", |(_, rest)| rest),
                None => return self.rest.chars().next(),
            }
        }
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        self.peek();
        self.rest = self.rest.strip_prefix(wanted)?;
        Some(())
    }

    fn count(&mut self) -> Option<()> {
        self.values_left = self.values_left.checked_sub(1)?;
        Some(())
    }

    /// The longest run of characters that `fits`, which is not empty.
    fn word(&mut self, fits: impl Fn(char) -> bool) -> Option<&'a str> {
        self.peek();
        let end = self.rest.find(|at| !fits(at)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Named values up to a closing brace, which stays, or to the end.
    fn section(&mut self, depth: u32) -> Option<Section<'a>> {
        let mut section = Section::default();
        loop {
            if matches!(self.peek(), None | Some('}')) {
                return Some(section);
            }
            self.count()?;
            let name = self.word(|at| at.is_ascii_alphanumeric() || "_-.+".contains(at))?;
            let value = match self.peek()? {
                '{' if depth < DEPTH_MAX => {
                    self.take('{')?;
                    let inner = self.section(depth.saturating_add(1))?;
                    self.take('}')?;
                    Value::Section(inner)
                }
                '=' => {
                    self.take('=')?;
                    self.value()?
                }
                _ => return None,
            };
            section.0.push((name, value));
        }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.peek()? != '[' {
            return self.scalar();
        }
        self.take('[')?;
        let mut values = Vec::new();
        while self.peek()? != ']' {
            self.count()?;
            values.push(self.scalar()?);
        }
        self.take(']')?;
        Some(Value::List(values))
    }

    fn scalar(&mut self) -> Option<Value<'a>> {
        if self.peek()? == '"' {
            self.take('"')?;
            return self.string().map(Value::Text);
        }
        // A fraction means nothing in metadata; what stands before its point does no harm.
        let word = self.word(|at| at.is_ascii_digit() || at == '-' || at == '.')?;
        word.split('.').next()?.parse().ok().map(Value::Number)
    }

    /// What is left of a quoted string; a backslash takes the next character as it is.
    fn string(&mut self) -> Option<Cow<'a, str>> {
        let end = self.rest.find(['"', '\\'])?;
        let (plain, behind) = self.rest.split_at_checked(end)?;
        if let Some(rest) = behind.strip_prefix('"') {
            self.rest = rest;
            return Some(Cow::Borrowed(plain));
        }
        let mut string = plain.to_owned();
        let mut characters = behind.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => string.push(characters.next()?),
                character => string.push(character),
            }
        }
        self.rest = characters.as_str();
        Some(Cow::Owned(string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. What LVM2 writes is understood, comments and escapes included.
    #[test]
    fn a_text_with_everything_in_it() {
        let text = b"# made by a test\nvg0 {\n\tid = \"a-b\" # the id\n\tseqno = 3\n\tempty = []\n\
                    stripes = [\n\t\t\"pv0\", 12,\n\t\t\"p\\\"v1\", -1\n\t]\n\tinner { deep { } }\n}\nversion = 1\n\0";
        let parsed = parse(text).expect("a text");
        let group = parsed.section("vg0").expect("a section");
        assert_eq!(
            (group.text("id"), group.number("seqno"), parsed.number("version")),
            (Some("a-b"), Some(3), Some(1))
        );
        assert_eq!(group.list("stripes").len(), 4);
        assert!(group.lists("stripes", "p\"v1") && !group.lists("empty", "x"));
        assert_eq!(group.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["inner"]);
        assert!(group.section("inner").and_then(|inner| inner.section("deep")).is_some());
    }

    // Promise 5. Text that is none is refused, however deep it nests and however many values it has.
    #[test]
    fn what_is_no_text_is_refused() {
        let (deep, many) = ("a {".repeat(10_000), "a=1 ".repeat(VALUES_MAX + 1));
        for text in ["a", "a =", "a = [1", "a = \"b", "a {", "a { b = 1 } }", "= 3", "a = [[1]]", &deep, &many] {
            assert_eq!(parse(text.as_bytes()), None, "{}", text.get(..20).unwrap_or(text));
        }
        assert!(parse("a=1 ".repeat(VALUES_MAX).as_bytes()).is_some());
    }
}

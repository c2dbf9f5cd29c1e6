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
//! Bounds on hostile text: sections nest [`DEPTH_MAX`] deep; everything else is as long as the text itself.

/// Deeper than any text that LVM2 writes: group, list of volumes, volume, segment.
const DEPTH_MAX: u32 = 8;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Value>),
    Section(Section),
}

/// Named values in the order in which they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Section(Vec<(String, Value)>);

impl Section {
    fn value(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// A number that is not negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The values of a list; none where there is no such list.
    pub fn list(&self, name: &str) -> &[Value] {
        match self.value(name) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }

    /// Whether a list has a text in it.
    pub fn lists(&self, name: &str, text: &str) -> bool {
        self.list(name).iter().any(|value| matches!(value, Value::Text(found) if found == text))
    }

    pub fn section(&self, name: &str) -> Option<&Section> {
        match self.value(name)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// The sections in it, with their names.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }
}

/// Reads a whole text; `None` where it is none.
pub(super) fn parse(text: &str) -> Option<Section> {
    let mut parser = Parser { rest: text };
    let section = parser.section(0)?;
    // What no section closes ends with the text.
    parser.rest.is_empty().then_some(section)
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// Goes past white space and comments; the next character, if there is one.
    fn peek(&mut self) -> Option<char> {
        loop {
            // The text on disk ends in a NUL.
            self.rest = self.rest.trim_start_matches(|at: char| at.is_whitespace() || at == '\0' || at == ',');
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

    /// The longest run of characters that `fits`, which is not empty.
    fn word(&mut self, fits: impl Fn(char) -> bool) -> Option<&'a str> {
        self.peek();
        let end = self.rest.find(|at| !fits(at)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Named values up to a closing brace, which stays, or to the end.
    fn section(&mut self, depth: u32) -> Option<Section> {
        let mut section = Section::default();
        loop {
            if matches!(self.peek(), None | Some('}')) {
                return Some(section);
            }
            let name = self.word(|at| at.is_ascii_alphanumeric() || "_-.+".contains(at))?.to_owned();
            let value = match self.peek()? {
                '{' if depth < DEPTH_MAX => {
                    self.take('{')?;
                    let inner = self.section(depth + 1)?;
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

    fn value(&mut self) -> Option<Value> {
        if self.peek()? != '[' {
            return self.scalar();
        }
        self.take('[')?;
        let mut values = Vec::new();
        while self.peek()? != ']' {
            values.push(self.scalar()?);
        }
        self.take(']')?;
        Some(Value::List(values))
    }

    fn scalar(&mut self) -> Option<Value> {
        if self.peek()? == '"' {
            self.take('"')?;
            return self.string().map(Value::Text);
        }
        // A fraction means nothing in metadata; what stands before its point does no harm.
        let word = self.word(|at| at.is_ascii_digit() || at == '-' || at == '.')?;
        word.split('.').next()?.parse().ok().map(Value::Number)
    }

    /// What is left of a quoted string; a backslash takes the next character as it is.
    fn string(&mut self) -> Option<String> {
        let mut string = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(string);
                }
                '\\' => string.push(characters.next()?.1),
                _ => string.push(character),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Promise 2. What LVM2 writes is understood, comments and escapes included.
    #[test]
    fn a_text_with_everything_in_it() {
        let text = "# made by a test\nvg0 {\n\tid = \"a-b\" # the id\n\tseqno = 3\n\tempty = []\n\
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

    // Promise 2. Text that is none is refused, however deep it nests.
    #[test]
    fn what_is_no_text_is_refused() {
        for text in ["a", "a =", "a = [1", "a = \"b", "a {", "a { b = 1 } }", "= 3", "a = [[1]]", &"a {".repeat(10_000)]
        {
            assert_eq!(parse(text), None, "{}", text.get(..20).unwrap_or(text));
        }
    }
}

//! FORMAT.md says what the code does: its byte tables are those of the modules, word for word.
//!
//! `ICECORE_WRITE_FORMAT=1 cargo test --test compat document::` puts them there after a change.

use std::fmt::Write;
use std::path::Path;

/// The module's own documentation, without the comment marks.
fn module_documentation(path: &str) -> String {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the module");
    source.lines().map_while(|line| line.strip_prefix("//!")).fold(String::new(), |mut text, line| {
        writeln!(text, "{}", line.strip_prefix(' ').unwrap_or(line)).expect("a string");
        text
    })
}

#[test]
fn the_byte_tables_in_format_md_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md");
    let stored = std::fs::read_to_string(&path).expect("FORMAT.md");
    let (mut expected, mut rest, mut sections) = (String::new(), stored.as_str(), 0);
    while let Some((before, after)) = rest.split_once("<!-- src/") {
        let (module, after) = after.split_once(" -->\n").expect("a marker ends");
        let (_, after) = after.split_once("<!-- end -->\n").expect("a section ends");
        let text = module_documentation(&format!("src/{module}"));
        write!(expected, "{before}<!-- src/{module} -->\n{text}<!-- end -->\n").expect("a string");
        rest = after;
        sections += 1;
    }
    expected.push_str(rest);
    assert_eq!(sections, 14, "every structure has its section");
    if std::env::var_os("ICECORE_WRITE_FORMAT").is_some() {
        std::fs::write(&path, &expected).expect("FORMAT.md");
    } else {
        assert!(stored == expected, "FORMAT.md is behind the code: run with ICECORE_WRITE_FORMAT=1");
    }
}

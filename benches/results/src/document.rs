//! The document: sections between marker comments, each replaced alone.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What a new document begins with.
const OPENING: &str = "\
# Results

Measured, never typed: each section is replaced by the command that it names. `make results` makes all of them again.
Figures of different sections, or of a section and its predecessor, may come from different machines; a section says from
which.
";

/// Replaces a section in the document, or adds it at the end; makes the document if there is none.
pub fn keep(path: &Path, name: &str, section: &str) -> Result<()> {
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => OPENING.to_owned(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let after = replace(&before, name, section).with_context(|| path.display().to_string())?;
    fs::write(path, after).with_context(|| path.display().to_string())?;
    eprintln!("{}: section {name} written", path.display());
    Ok(())
}

/// The document with the section's text between its markers.
fn replace(document: &str, name: &str, section: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- section: {name} -->"), format!("<!-- end: {name} -->"));
    let framed = format!("{begin}\n{}\n{end}", section.trim());
    match (document.find(&begin), document.find(&end)) {
        (None, None) => Ok(format!("{}\n\n{framed}\n", document.trim_end())),
        (Some(from), Some(to)) if from < to => {
            let (before, after) = (document.get(..from), document.get(to + end.len()..));
            Ok(format!("{}{framed}{}", before.unwrap_or_default(), after.unwrap_or_default()))
        }
        _ => bail!("one marker of section {name} is missing, or they are in the wrong order"),
    }
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn a_section_that_is_not_there_comes_last() {
        let document = replace("# Results\n", "peers", "fast\n").unwrap();
        assert_eq!(document, "# Results\n\n<!-- section: peers -->\nfast\n<!-- end: peers -->\n");
    }

    #[test]
    fn a_section_that_is_there_is_replaced_where_it_stands() {
        let document = replace("# Results\n", "peers", "slow").unwrap();
        let document = replace(&document, "stages", "many").unwrap();
        let document = replace(&document, "peers", "fast").unwrap();
        let expected = "# Results\n\n<!-- section: peers -->\nfast\n<!-- end: peers -->\n\n\
                        <!-- section: stages -->\nmany\n<!-- end: stages -->\n";
        assert_eq!(document, expected);
    }

    #[test]
    fn the_same_section_again_changes_nothing() {
        let once = replace("", "peers", "fast").unwrap();
        assert_eq!(replace(&once, "peers", "fast").unwrap(), once);
    }

    #[test]
    fn a_lost_marker_is_refused() {
        assert!(replace("<!-- section: peers -->\nfast\n", "peers", "slow").is_err());
        assert!(replace("<!-- end: peers -->\n<!-- section: peers -->\n", "peers", "slow").is_err());
    }
}

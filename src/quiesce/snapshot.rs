//! What a snapshot command answers: for each disk one line `NAME=PATH`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{DiskImage, ScriptFailure, one_line};

/// What is told of a line that can't be understood, in bytes.
const TOLD_BYTES: usize = 200;

/// Reads the answer into `paths`, one for each disk; what could be read is there also where the answer is wrong, for it has to
/// be removed again.
pub(super) fn read(answer: &[u8], images: &[DiskImage], paths: &mut [Option<PathBuf>]) -> Option<ScriptFailure> {
    let mut wrong = None;
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if let Err(rule) = read_line(line, images, paths) {
            let line = one_line(&String::from_utf8_lossy(line), TOLD_BYTES);
            wrong.get_or_insert(ScriptFailure::Answer { line, rule });
        }
    }
    let unanswered = images.iter().zip(&*paths).find(|(_, path)| path.is_none());
    wrong.or_else(|| unanswered.map(|(image, _)| ScriptFailure::Unanswered(image.name.clone())))
}

fn read_line(line: &[u8], images: &[DiskImage], paths: &mut [Option<PathBuf>]) -> Result<(), &'static str> {
    // A name may hold "=", as a path may: it is the name of a disk that decides.
    let of = |image: &DiskImage| line.strip_prefix(image.name.as_bytes())?.strip_prefix(b"=");
    let fits = images.iter().zip(paths).find_map(|(image, path)| Some((of(image)?, path)));
    let (text, path) = fits.ok_or("it is not NAME=PATH of a disk; what is no path goes to standard error")?;
    if text.is_empty() || text.contains(&0) {
        return Err("that is no path");
    }
    if path.is_some() {
        return Err("that disk has a path already");
    }
    *path = Some(OsStr::from_bytes(text).into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{DiskImage, PathBuf, ScriptFailure, read};

    fn ask(answer: &[u8]) -> (Option<ScriptFailure>, Vec<Option<PathBuf>>) {
        let images = [DiskImage::new("os", "/a"), DiskImage::new("data = x", "/b")];
        let mut paths = vec![None; images.len()];
        (read(answer, &images, &mut paths), paths)
    }

    // Promise 2: what is read as a disk is the snapshot of that disk, or nothing.
    #[test]
    fn an_answer_names_each_disk_once() {
        let paths =
            |os: &str, data: &str| [os, data].map(|text| (!text.is_empty()).then(|| PathBuf::from(text))).to_vec();
        assert_eq!(ask(b"os=/s/os\ndata = x=/s/=\n"), (None, paths("/s/os", "/s/=")));
        assert_eq!(ask(b"\n\ndata = x=d\n\nos=o"), (None, paths("o", "d")));
        let unanswered = |name: &str| Some(ScriptFailure::Unanswered(name.to_owned()));
        assert_eq!(ask(b""), (unanswered("os"), paths("", "")));
        assert_eq!(ask(b"os=/s/os\n"), (unanswered("data = x"), paths("/s/os", "")));
    }

    // Promise 2. What could be read is known all the same: it has to be released.
    #[test]
    fn garbage_is_told_and_not_believed() {
        let cases: [&[u8]; 7] =
            [b"Logical volume created.", b"os=", b"os=a\nos=b", b"o\0s=a", b"os=a\0b", b"\xff\xfe=\x1b[2J", b"os\r=a"];
        for case in cases {
            let (failure, _) = ask(case);
            assert!(matches!(failure, Some(ScriptFailure::Answer { .. })), "{case:?}: {failure:?}");
            assert!(!failure.expect("a failure").to_string().chars().any(char::is_control), "{case:?}");
        }
        let (failure, paths) = ask(&[b"x".repeat(60_000), b"\nos=/s/os\n".to_vec()].concat());
        assert_eq!(paths[0], Some("/s/os".into()));
        assert!(failure.expect("a failure").to_string().len() < 400);
    }
}

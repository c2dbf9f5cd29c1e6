//! Where passwords and key files come from. Never from arguments: other users of the machine see those.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use icecore::seal::Credential;
use zeroize::Zeroizing;

use super::arguments::Global;
use super::exit::Exit;
use super::problem::{Problem, Sentence};

/// Largest password or key file that is read, in bytes: more is a mistake.
const MOST_BYTES: u64 = 1 << 20;

/// Where a secret comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    KeyFile(PathBuf),
    PasswordFile(PathBuf),
    PasswordCommand(String),
    Environment(Vec<u8>),
    Prompt,
}

/// Gets what opens the vault.
pub fn credential(global: &Global) -> Result<Credential, Problem> {
    read(&origin(global)?, &["Password: "])
}

/// Gets what shall open a new vault; a person types a password twice, and nobody may choose an empty one.
pub fn new_credential(global: &Global) -> Result<Credential, Problem> {
    not_empty(read(&origin(global)?, &["New password: ", "Once more: "])?)
}

/// Gets what shall open a new key slot.
pub fn new_slot_credential(password_file: Option<&Path>, key_file: Option<&Path>) -> Result<Credential, Problem> {
    let origin = match (password_file, key_file) {
        (Some(path), _) => Origin::PasswordFile(path.to_path_buf()),
        (None, Some(path)) => Origin::KeyFile(path.to_path_buf()),
        (None, None) => Origin::Prompt,
    };
    not_empty(read(&origin, &["New key's password: ", "Once more: "])?)
}

/// Options come before the environment. Of several options none is right; of the environment the first counts.
fn origin(global: &Global) -> Result<Origin, Problem> {
    let options = [
        global.key_file.clone().map(Origin::KeyFile),
        global.password_file.clone().map(Origin::PasswordFile),
        global.password_command.clone().map(Origin::PasswordCommand),
    ];
    let mut given = options.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(_), Some(_)) => {
            return Err(Problem::usage(
                "more than one of --key-file, --password-file and --password-command is given",
                "give one of them",
            ));
        }
        (Some(origin), None) => return Ok(origin),
        (None, _) => {}
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = set("ICECORE_KEY_FILE") {
        return Ok(Origin::KeyFile(path.into()));
    }
    if let Some(path) = set("ICECORE_PASSWORD_FILE") {
        return Ok(Origin::PasswordFile(path.into()));
    }
    if let Some(command) = set("ICECORE_PASSWORD_COMMAND") {
        let command = command.into_string();
        let text = |_| Problem::usage("ICECORE_PASSWORD_COMMAND is not UTF-8", "set it to a shell command");
        return command.map(Origin::PasswordCommand).map_err(text);
    }
    // Set and empty is an answer too: the password is empty, and opens no vault that we made.
    if let Some(password) = std::env::var_os("ICECORE_PASSWORD") {
        return Ok(Origin::Environment(std::os::unix::ffi::OsStringExt::into_vec(password)));
    }
    Ok(Origin::Prompt)
}

fn read(origin: &Origin, prompts: &[&str]) -> Result<Credential, Problem> {
    match origin {
        Origin::KeyFile(path) => Ok(Credential::key_file(read_file("read the key file", path)?.to_vec())?),
        Origin::PasswordFile(path) => Ok(password(&read_file("read the password file", path)?)),
        Origin::PasswordCommand(command) => Ok(password(&run(command)?)),
        Origin::Environment(bytes) => Ok(Credential::password(bytes.clone())),
        Origin::Prompt => prompt(prompts),
    }
}

/// Files and commands end their line; the line's end is no part of the password.
fn password(bytes: &[u8]) -> Credential {
    let bytes = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    Credential::password(bytes)
}

fn read_file(operation: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    use std::io::Read;
    let failed = Problem::file(operation, path);
    let file = std::fs::File::open(path).map_err(&failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(&failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 1 MiB")));
    }
    Ok(bytes)
}

fn run(command: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let failed = |why: String| {
        let happened = format!("the password command {why}");
        Problem::said(Exit::Failed, Sentence::new(happened, "nothing was done", "try that command by itself"))
    };
    let ran = Command::new("/bin/sh").arg("-c").arg(command).stdout(Stdio::piped()).spawn();
    let output =
        ran.and_then(std::process::Child::wait_with_output).map_err(|error| failed(format!("failed: {error}")))?;
    let stdout = Zeroizing::new(output.stdout);
    if output.status.success() { Ok(stdout) } else { Err(failed(format!("ended with {}", output.status))) }
}

fn prompt(prompts: &[&str]) -> Result<Credential, Problem> {
    if !io::stdin().is_terminal() {
        return Err(Problem::usage(
            "no password is given and there is no terminal to ask on",
            "set ICECORE_PASSWORD_FILE, ICECORE_PASSWORD_COMMAND or ICECORE_KEY_FILE",
        ));
    }
    let mut first: Option<Zeroizing<String>> = None;
    for prompt in prompts {
        let typed = rpassword::prompt_password(prompt).map_err(Problem::file("read", Path::new("the terminal")))?;
        let typed = Zeroizing::new(typed);
        match &first {
            None => first = Some(typed),
            Some(first) if **first == *typed => {}
            Some(_) => return Err(Problem::usage("the two passwords differ", "type the same password twice")),
        }
    }
    Ok(Credential::password(first.unwrap_or_default().as_bytes()))
}

fn not_empty(credential: Credential) -> Result<Credential, Problem> {
    match &credential {
        Credential::Password(password) if password.is_empty() => {
            Err(Problem::usage("the password is empty", "choose one that others can't guess"))
        }
        _ => Ok(credential),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_no_part_of_a_password() {
        for (file, expected) in [(&b"a b\n"[..], &b"a b"[..]), (b"x\r\n", b"x"), (b"x\n\n", b"x\n"), (b" x ", b" x ")] {
            match password(file) {
                Credential::Password(password) => assert_eq!(&**password, expected),
                Credential::KeyFile(_) => panic!("a password becomes a password"),
            }
        }
    }
}

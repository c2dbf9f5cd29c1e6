//! Where passwords and key files come from. Never from arguments: other users of the machine see those.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use icecore::seal::{Credential, RecoveryKey};
use zeroize::Zeroizing;

use super::arguments::{ASK, Global, TargetKey};
use super::exit::Exit;
use super::problem::{Problem, Sentence};
use super::{external, recovery};

/// Largest password or key file that is read, in bytes: more is a mistake.
const MOST_BYTES: u64 = 1 << 20;

/// Where a secret comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    KeyFile(PathBuf),
    PasswordFile(PathBuf),
    PasswordCommand(String),
    /// A file with the words, or [`ASK`].
    RecoveryKey(PathBuf),
    External(Commands),
    Environment(Vec<u8>),
    Prompt,
}

/// What makes a key that somebody else keeps.
#[derive(Debug, PartialEq, Eq)]
struct Commands {
    wrap: Option<String>,
    unwrap: String,
    timeout: Duration,
}

/// Where the credential of a new slot comes from, by the options of a verb.
#[derive(Clone, Copy, Default)]
pub struct NewKey<'a> {
    /// A file whose line is the password.
    pub password_file: Option<&'a Path>,
    /// A key file.
    pub key_file: Option<&'a Path>,
    /// A command that wraps the key of the slot.
    pub wrap_command: Option<&'a str>,
    /// The command that unwraps it again.
    pub unwrap_command: Option<&'a str>,
}

/// What says where the secret of a vault is: options, and the names of the rest.
struct Asked<'a> {
    key_file: Option<&'a Path>,
    password_file: Option<&'a Path>,
    password_command: Option<&'a str>,
    recovery_key: Option<&'a Path>,
    unwrap_command: Option<&'a str>,
    timeout: Duration,
    names: &'static Names,
}

/// What options and variables are called.
struct Names {
    too_many: &'static str,
    key_file: &'static str,
    password_file: &'static str,
    password_command: &'static str,
    unwrap_command: &'static str,
    password: &'static str,
    prompt: &'static str,
    none_given: &'static str,
}

/// For the vault that a verb works on.
const OWN: Names = Names {
    too_many: "more than one of --key-file, --password-file, --password-command, --recovery-key and --unwrap-command is \
               given",
    key_file: "ICECORE_KEY_FILE",
    password_file: "ICECORE_PASSWORD_FILE",
    password_command: "ICECORE_PASSWORD_COMMAND",
    unwrap_command: "ICECORE_UNWRAP_COMMAND",
    password: "ICECORE_PASSWORD",
    prompt: "Password: ",
    none_given: "set ICECORE_PASSWORD_FILE, ICECORE_PASSWORD_COMMAND or ICECORE_KEY_FILE",
};

/// For the vault that points are copied to.
const TARGET: Names = Names {
    too_many: "more than one of --to-key-file, --to-password-file, --to-password-command, --to-recovery-key and \
               --to-unwrap-command is given",
    key_file: "ICECORE_TO_KEY_FILE",
    password_file: "ICECORE_TO_PASSWORD_FILE",
    password_command: "ICECORE_TO_PASSWORD_COMMAND",
    unwrap_command: "ICECORE_TO_UNWRAP_COMMAND",
    password: "ICECORE_TO_PASSWORD",
    prompt: "Password of the target: ",
    none_given: "for the target, set ICECORE_TO_PASSWORD_FILE, ICECORE_TO_PASSWORD_COMMAND or ICECORE_TO_KEY_FILE",
};

impl<'a> Asked<'a> {
    fn own(global: &'a Global) -> Self {
        Self {
            key_file: global.key_file.as_deref(),
            password_file: global.password_file.as_deref(),
            password_command: global.password_command.as_deref(),
            recovery_key: global.recovery_key.as_deref(),
            unwrap_command: global.unwrap_command.as_deref(),
            timeout: global.key_timeout,
            names: &OWN,
        }
    }
}

/// Gets what opens the vault.
pub fn credential(global: &Global) -> Result<Credential, Problem> {
    let asked = Asked::own(global);
    read(&origin(&asked)?, &[asked.names.prompt], asked.names)
}

/// Gets what opens the vault that points are copied to.
pub fn target_credential(target: &TargetKey, global: &Global) -> Result<Credential, Problem> {
    let asked = Asked {
        key_file: target.to_key_file.as_deref(),
        password_file: target.to_password_file.as_deref(),
        password_command: target.to_password_command.as_deref(),
        recovery_key: target.to_recovery_key.as_deref(),
        unwrap_command: target.to_unwrap_command.as_deref(),
        timeout: global.key_timeout,
        names: &TARGET,
    };
    read(&origin(&asked)?, &[asked.names.prompt], asked.names)
}

/// Gets what shall open a new vault; a person types a password twice, and nobody may choose an empty one.
pub fn new_credential(global: &Global, wrap_command: Option<&str>) -> Result<Credential, Problem> {
    // For `init` that option is the wish for a recovery key besides.
    let global = Global { recovery_key: None, ..global.clone() };
    let origin = match (origin(&Asked::own(&global))?, wrap_command) {
        (Origin::External(commands), Some(wrap)) => {
            Origin::External(Commands { wrap: Some(wrap.to_owned()), ..commands })
        }
        (Origin::External(_), None) => {
            return Err(Problem::usage(
                "a command that unwraps a key is given, and none that wraps one",
                "give --wrap-command too",
            ));
        }
        (_, Some(_)) => return Err(no_unwrap_command()),
        (origin, None) => origin,
    };
    not_empty(read(&origin, &["New password: ", "Once more: "], &OWN)?)
}

fn no_unwrap_command() -> Problem {
    Problem::usage(
        "a command that wraps a key is given, and none that unwraps it again",
        "give --unwrap-command too: the new key is tried before it is stored",
    )
}

/// Gets what shall open a new key slot.
pub fn new_slot_credential(new: &NewKey<'_>, global: &Global) -> Result<Credential, Problem> {
    let origin = match (new.password_file, new.key_file, new.wrap_command) {
        (Some(path), ..) => Origin::PasswordFile(path.to_path_buf()),
        (None, Some(path), _) => Origin::KeyFile(path.to_path_buf()),
        (None, None, Some(wrap)) => {
            let unwrap = new
                .unwrap_command
                .map(str::to_owned)
                .map_or_else(|| unwrap_command(&Asked::own(global)), |new| Ok(Some(new)));
            let unwrap = unwrap?.ok_or_else(no_unwrap_command)?;
            Origin::External(Commands { wrap: Some(wrap.to_owned()), unwrap, timeout: global.key_timeout })
        }
        (None, None, None) => Origin::Prompt,
    };
    not_empty(read(&origin, &["New key's password: ", "Once more: "], &OWN)?)
}

/// Options come before the environment. Of several options none is right; of the environment the first counts.
fn origin(asked: &Asked<'_>) -> Result<Origin, Problem> {
    let external = |unwrap| Origin::External(Commands { wrap: None, unwrap, timeout: asked.timeout });
    let options = [
        asked.key_file.map(|path| Origin::KeyFile(path.to_path_buf())),
        asked.password_file.map(|path| Origin::PasswordFile(path.to_path_buf())),
        asked.password_command.map(|command| Origin::PasswordCommand(command.to_owned())),
        asked.recovery_key.map(|path| Origin::RecoveryKey(path.to_path_buf())),
        asked.unwrap_command.map(|command| external(command.to_owned())),
    ];
    let mut given = options.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(_), Some(_)) => return Err(Problem::usage(asked.names.too_many, "give one of them")),
        (Some(origin), None) => return Ok(origin),
        (None, _) => {}
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = set(asked.names.key_file) {
        return Ok(Origin::KeyFile(path.into()));
    }
    if let Some(path) = set(asked.names.password_file) {
        return Ok(Origin::PasswordFile(path.into()));
    }
    if let Some(command) = set(asked.names.password_command) {
        let command = command.into_string();
        let text =
            |_| Problem::usage(format!("{} is not UTF-8", asked.names.password_command), "set it to a shell command");
        return command.map(Origin::PasswordCommand).map_err(text);
    }
    if let Some(command) = unwrap_command(asked)? {
        return Ok(external(command));
    }
    // Set and empty is an answer too: the password is empty, and opens no vault that we made.
    if let Some(password) = std::env::var_os(asked.names.password) {
        return Ok(Origin::Environment(std::os::unix::ffi::OsStringExt::into_vec(password)));
    }
    Ok(Origin::Prompt)
}

/// The command that unwraps keys, by option or environment.
fn unwrap_command(asked: &Asked<'_>) -> Result<Option<String>, Problem> {
    if let Some(command) = asked.unwrap_command {
        return Ok(Some(command.to_owned()));
    }
    let name = asked.names.unwrap_command;
    let Some(command) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = |_| Problem::usage(format!("{name} is not UTF-8"), "set it to a program and its arguments");
    command.into_string().map(Some).map_err(text)
}

fn read(origin: &Origin, prompts: &[&str], names: &Names) -> Result<Credential, Problem> {
    match origin {
        Origin::KeyFile(path) => Ok(Credential::key_file(read_file("read the key file", path)?.to_vec())?),
        Origin::PasswordFile(path) => Ok(password(&read_file("read the password file", path)?)),
        Origin::PasswordCommand(command) => Ok(password(&run(command)?)),
        Origin::RecoveryKey(path) if path.as_os_str() == ASK => Ok(recovery::ask()?.credential()),
        Origin::RecoveryKey(path) => {
            let bytes = read_file("read the recovery key", path)?;
            let text = std::str::from_utf8(&bytes);
            let text =
                text.map_err(|_| Problem::usage("the file of the recovery key is no text", "give one with its words"))?;
            Ok(RecoveryKey::from_words(text)?.credential())
        }
        Origin::External(Commands { wrap, unwrap, timeout }) => {
            let (wrap, unwrap, timeout) = (wrap.clone(), unwrap.clone(), *timeout);
            Ok(external::Commands { wrap, unwrap, timeout }.credential())
        }
        Origin::Environment(bytes) => Ok(Credential::password(bytes.clone())),
        Origin::Prompt => prompt(prompts, names),
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

fn prompt(prompts: &[&str], names: &Names) -> Result<Credential, Problem> {
    if !io::stdin().is_terminal() {
        return Err(Problem::usage("no password is given and there is no terminal to ask on", names.none_given));
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
                _ => panic!("a password becomes a password"),
            }
        }
    }
}

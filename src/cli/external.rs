//! Keys that somebody else keeps: a command of the user's wraps and unwraps them.
//!
//! The command is a program and its arguments, apart at white space; it is run without a shell, and nothing in it is
//! expanded. It reads one line of JSON and prints one JSON value. It is never taken from the vault: whoever can write to
//! the vault could then run programs as whoever opens it.

use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use icecore::error::{Error, Result};
use icecore::format::{Id, hex};
use icecore::seal::{Credential, ExternalKey};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Most bytes that a command may print.
const MOST_BYTES: u64 = 64 << 10;

/// How long a command that was sent away may take to go.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);

/// The two commands.
pub struct Commands {
    /// Wraps the key of a new slot.
    pub wrap: Option<String>,
    /// Unwraps it each time the vault is opened.
    pub unwrap: String,
    /// How long each may take.
    pub timeout: Duration,
}

impl Commands {
    /// What opens a slot with them.
    pub fn credential(self) -> Credential {
        Credential::External(std::sync::Arc::new(self))
    }
}

fn failed(command: &str, why: impl std::fmt::Display) -> Error {
    Error::External { source: io::Error::other(format!("`{command}` {why}")) }
}

fn field<'a>(command: &str, answer: &'a Value, name: &str) -> Result<&'a str> {
    answer[name].as_str().ok_or_else(|| failed(command, format_args!("prints JSON without a string {name:?}")))
}

impl ExternalKey for Commands {
    fn wrap(&self, vault: &Id, slot: &[u8; 8], key: &[u8; 32]) -> Result<Vec<u8>> {
        let command = self.wrap.as_deref().unwrap_or_default();
        // Never grown, nor held by anything that does not wipe it: the key is in it.
        let mut request = Zeroizing::new(String::with_capacity(512));
        let (vault, slot) = (hex(vault), hex(slot));
        request.push_str(r#"{"format":1,"operation":"wrap","vault":""#);
        for (text, then) in [(vault.as_str(), r#"","slot":""#), (slot.as_str(), r#"","key":""#)] {
            request.push_str(text);
            request.push_str(then);
        }
        BASE64.encode_string(key, &mut request);
        request.push_str("\"}\n");
        let answer = ask(command, request, self.timeout)?;
        Ok(field(command, &answer, "wrapped")?.as_bytes().to_vec())
    }

    fn unwrap(&self, vault: &Id, slot: &[u8; 8], wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let command = self.unwrap.as_str();
        let wrapped = std::str::from_utf8(wrapped).map_err(|_| failed(command, "has wrapped nothing in this slot"))?;
        let request =
            json!({"format": 1, "operation": "unwrap", "vault": hex(vault), "slot": hex(slot), "wrapped": wrapped});
        let mut answer = ask(command, Zeroizing::new(format!("{request}\n")), self.timeout)?;
        field(command, &answer, "key")?;
        let mut text = Zeroizing::new(String::new());
        if let Some(Value::String(key)) = answer.get_mut("key") {
            // Out of what is not wiped.
            *text = std::mem::take(key);
        }
        let decoded =
            BASE64.decode(text.as_bytes()).or_else(|_| BASE64_URL.decode(text.as_bytes())).map(Zeroizing::new);
        let bytes = decoded.map_err(|_| failed(command, "prints a \"key\" that is not base64"))?;
        let key = <[u8; 32]>::try_from(bytes.as_slice());
        key.map(Zeroizing::new).map_err(|_| failed(command, "prints a \"key\" that is not 32 bytes long"))
    }
}

/// Runs a command with one line of JSON, and reads the JSON that it prints.
fn ask(command: &str, request: Zeroizing<String>, timeout: Duration) -> Result<Value> {
    let deadline = Instant::now() + timeout;
    let mut words = command.split_whitespace();
    let program = words.next().ok_or_else(|| failed(command, "names no program"))?;
    // What it says on standard error is shown as it says it.
    let mut starting = Command::new(program);
    starting.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    // It gets one key to wrap, and no other secret.
    for variable in ["ICECORE_PASSWORD", "ICECORE_TO_PASSWORD"] {
        starting.env_remove(variable);
    }
    // One that may ask a person must stay in the terminal's group; elsewhere, what it started goes with it.
    let in_group = !io::stdin().is_terminal();
    if in_group {
        starting.process_group(0);
    }
    let mut child = starting.spawn().map_err(|error| failed(command, format_args!("can't be started: {error}")))?;
    let outcome = talk(&mut child, request, deadline);
    if outcome.is_err() {
        // It hangs, or prints for ever: nobody waits for it.
        if in_group {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status, output) = outcome.map_err(|why| failed(command, why))?;
    if !status.success() {
        return Err(failed(command, format_args!("ended with {status}")));
    }
    serde_json::from_slice(&output).map_err(|_| failed(command, "prints no JSON"))
}

fn talk(
    child: &mut Child,
    request: Zeroizing<String>,
    deadline: Instant,
) -> std::result::Result<(ExitStatus, Zeroizing<Vec<u8>>), String> {
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("has no standard input or output".to_owned());
    };
    // Threads of their own: it may print before it reads, or never do either.
    std::thread::spawn(move || {
        // One that does not read what it was asked still has to answer.
        let _ = input.write_all(request.as_bytes());
    });
    let (sender, printed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        let read = output.take(MOST_BYTES + 1).read_to_end(&mut bytes);
        let _ = sender.send(read.map(|_| bytes));
    });
    let late = || "took too long, and was stopped".to_owned();
    let left = deadline.saturating_duration_since(Instant::now());
    let bytes = match printed.recv_timeout(left).map_err(|_| late())? {
        Ok(bytes) if bytes.len() as u64 > MOST_BYTES => {
            return Err("prints more than 64 KiB, and was stopped".to_owned());
        }
        Ok(bytes) => bytes,
        Err(error) => return Err(format!("can't be read from: {error}")),
    };
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok((status, bytes)),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(BETWEEN_LOOKS),
            Ok(None) => return Err(late()),
            Err(error) => return Err(format!("can't be waited for: {error}")),
        }
    }
}

//! Exit codes. Scripts rely on them, so none ever changes its meaning.

use std::process::ExitCode;

use icecore::error::{Error, ErrorKind};

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All that was asked is done.
    Done = 0,
    /// It is not done; for `verify`: damage was found.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Done in part: a point or a restored disk with ranges missing, or some files or points that could not be read;
    /// a point that is less consistent than was asked for, or whose snapshot was not released; or some of the machines
    /// that were due.
    Incomplete = 3,
    /// There is no vault.
    NoVault = 10,
    /// Somebody holds a lock, or uses the mount.
    Busy = 11,
    /// Wrong password or key file, or its role may not do this.
    WrongPassword = 12,
    /// A script that is to make a machine hold still failed, and there is no point.
    Script = 13,
    /// A quota is reached: no point was made.
    OverQuota = 14,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// The table for `--help`.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed, or verify found damage
  2    wrong usage
  3    done in part: ranges, files or machines are missing, a point is less consistent than was asked for, or a snapshot was not
       released; and said so
  10   no vault there
  11   busy
  12   wrong password or key file, or its role may not do this
  13   a script before or after a backup, or its snapshot command, failed, and no point was made
  14   a quota is reached, no point was made
  130  interrupted";

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The way that a number stands for; another number is a failure.
    pub fn from_code(code: u8) -> Self {
        const ALL: [Exit; 10] = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Incomplete,
            Exit::NoVault,
            Exit::Busy,
            Exit::WrongPassword,
            Exit::Script,
            Exit::OverQuota,
            Exit::Interrupted,
        ];
        ALL.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failed)
    }

    /// The code for an error of the engine.
    pub fn of(error: &Error) -> Self {
        match (error.kind(), error) {
            (ErrorKind::NoVault, _) => Self::NoVault,
            (ErrorKind::KeyHolder, _) => Self::WrongPassword,
            (ErrorKind::Busy, _) => Self::Busy,
            (ErrorKind::Script, _) => Self::Script,
            (ErrorKind::Interrupted, _) => Self::Interrupted,
            (_, Error::OverQuota { .. }) => Self::OverQuota,
            (_, Error::Invalid { .. } | Error::DuplicateDisk { .. }) => Self::Usage,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

//! Ctrl-C and SIGTERM.
//!
//! Asked for only after the password prompt, where Ctrl-C keeps its usual meaning.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::flag;

use super::exit::Exit;
use super::problem::Problem;

/// The wish to stop, set by the first signal.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the first signal is only noted, for work that has to end cleanly; the second ends the process at once.
    pub fn noted() -> io::Result<Self> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the signal that sets the flag must not find it set.
            flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), Arc::clone(&noted))?;
            flag::register(signal, Arc::clone(&noted))?;
        }
        Ok(Self(noted))
    }

    /// From now on every signal is only noted, for work that is soon told and must not leave what it made lying about.
    pub fn always_noted() -> io::Result<Self> {
        let noted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register(signal, Arc::clone(&noted))?;
        }
        Ok(Self(noted))
    }

    /// From now on no signal that can be caught ends the process, a terminal that goes away included: for work that holds
    /// something outside of this machine's memory still, and has to let it go on.
    pub fn noted_to_the_end() -> io::Result<Self> {
        let noted = Arc::new(AtomicBool::new(false));
        // A limit of the process' time or of its files' sizes is a signal too.
        let all = [
            SIGINT,
            SIGTERM,
            SIGHUP,
            SIGQUIT,
            SIGALRM,
            SIGIO,
            SIGPROF,
            SIGUSR1,
            SIGUSR2,
            SIGVTALRM,
            SIGXCPU,
            SIGXFSZ,
            libc::SIGPWR,
        ];
        for signal in all {
            // What `nohup` keeps away is not let in.
            if signal != SIGHUP || !is_ignored(signal)? {
                flag::register(signal, Arc::clone(&noted))?;
            }
        }
        Ok(Self(noted))
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

fn is_ignored(signal: i32) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it writes what is set into memory for just that, and changes nothing.
    if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a value of it, and the call filled it in.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
}

/// From now on a signal ends the process at once with the code for it: for verbs that leave nothing half done.
pub fn end_at_once() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        let always = Arc::new(AtomicBool::new(true));
        flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), always)?;
    }
    Ok(())
}

/// The system would not let us handle signals.
pub fn refused(error: io::Error) -> Problem {
    Problem::file("handle signals of", Path::new("this process"))(error)
}

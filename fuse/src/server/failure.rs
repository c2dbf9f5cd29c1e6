//! Calls into the tree: its errors become numbers for the kernel and words for a person, its panics become errors.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::Errno;

use crate::{NodeId, ReadOnlyTree};

/// A request that failed for a reason that lies in the tree, not in the question: damage, a medium's error, a bug.
/// Answers such as "no such file" are none.
#[derive(Debug)]
pub struct Failure<'a, E> {
    /// What was asked of the tree: the name of the trait's function.
    pub operation: &'static str,
    /// Of which node.
    pub node: NodeId,
    /// Why it failed.
    pub cause: Cause<'a, E>,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Cause<'a, E> {
    /// The tree said so.
    Error(&'a E),
    /// The tree panicked, with this message; the asking program gets `EIO`.
    Panic(&'a str),
}

impl<E: fmt::Display> fmt::Display for Failure<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of node {}: ", self.operation, self.node)?;
        match &self.cause {
            Cause::Error(error) => write!(f, "{error}"),
            Cause::Panic(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// Who is told of failures.
pub(super) type OnFailure<E> = Box<dyn Fn(&Failure<'_, E>) + Send + Sync>;

/// Runs one call into the tree. Afterwards the tree is used further even if it panicked: it is shared and has to keep
/// its own locks sound, which is all that unwind safety is about.
pub(super) fn ask<T: ReadOnlyTree, R>(
    tree: &T,
    on_failure: &OnFailure<T::Error>,
    operation: &'static str,
    node: NodeId,
    call: impl FnOnce(&T) -> Result<R, T::Error>,
) -> Result<R, Errno> {
    let tell = |cause| {
        let failure = Failure { operation, node, cause };
        // Whoever is told may panic as well as the tree may.
        let _ = catch_unwind(AssertUnwindSafe(|| on_failure(&failure)));
    };
    match catch_unwind(AssertUnwindSafe(|| call(tree))) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let errno = Errno::from_i32(T::errno(&error));
            if !is_plain_answer(errno) {
                tell(Cause::Error(&error));
            }
            Err(errno)
        }
        Err(payload) => {
            tell(Cause::Panic(message(payload.as_ref())));
            Err(Errno::EIO)
        }
    }
}

/// Errors by which a sound tree answers a question that has no other answer. All the rest is told, unknown ones too.
fn is_plain_answer(errno: Errno) -> bool {
    const PLAIN: [Errno; 12] = [
        Errno::ENOENT,
        Errno::ENOTDIR,
        Errno::EISDIR,
        Errno::EINVAL,
        Errno::ENXIO,
        Errno::ENODATA,
        Errno::ERANGE,
        Errno::ENAMETOOLONG,
        Errno::EACCES,
        Errno::EPERM,
        Errno::EROFS,
        Errno::EOPNOTSUPP,
    ];
    PLAIN.contains(&errno)
}

fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

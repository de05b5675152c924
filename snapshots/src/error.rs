//! The crate's errors: a variant for each reaction that a caller can have.

use crate::decode::Damaged;
use block_layer::store::{CommitError, FailReason, OpenError, ReadError};
use block_layer::IndexError;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such dataset, snapshot or branch (any more).
    #[error("{0} does not exist")]
    NotFound(String),
    /// The name is taken.
    #[error("{0} exists already; choose another name")]
    Exists(String),
    /// It cannot go while something depends on it.
    #[error("{what} is in use by {by}")]
    InUse {
        /// What was to go.
        what: String,
        /// What depends on it.
        by: String,
    },
    /// The request does not make sense: a bug of the caller or bad input.
    #[error("invalid request: {0}")]
    Invalid(&'static str),
    /// Beyond the end of the dataset.
    #[error("the range ends beyond the dataset's {size} bytes")]
    OutOfRange {
        /// The dataset's size in bytes.
        size: u64,
    },
    /// Compare-and-write found other data.
    #[error("the data differs at byte {offset} of the compared range")]
    Miscompare {
        /// The first byte that differs.
        offset: u64,
    },
    /// The session was fenced before the command took effect; it never will.
    #[error("the command's session has ended")]
    Fenced,
    /// The rule of the dataset's kind refuses the change of an entry, for a reason of its own.
    #[error("a small entry does not take the change (reason {0})")]
    Vetoed(u32),
    /// No space is left; nothing was done.
    #[error("no space left in the pool; delete or unmap something, or add a device")]
    NoSpace,
    /// A block is damaged on its device.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index failed or is damaged.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A value in the index does not decode.
    #[error("the index is damaged: {0}")]
    Damaged(#[from] Damaged),
    /// The pool has stopped acknowledging; whether the command took effect shows after it is reopened.
    #[error("the pool has stopped: {0}; reopen it")]
    PoolFailed(FailReason),
    /// The pool is being closed.
    #[error("the pool is closed")]
    Closed,
    /// The pool's devices do not allow it; nothing was changed.
    #[error(transparent)]
    Pool(#[from] Box<block_layer::pool::PoolError>),
    /// The pool does not open.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
}

impl From<OpenError> for Error {
    fn from(e: OpenError) -> Error {
        Error::Open(Box::new(e))
    }
}

/// Why an operation has to be prepared again, or failed.
pub(crate) enum Retry {
    /// When this sequence is visible.
    After(block_layer::Seq),
    /// It failed.
    Failed(Error),
}

impl From<CommitError<Error>> for Retry {
    fn from(e: CommitError<Error>) -> Retry {
        match e {
            CommitError::Bounced(seq) => Retry::After(seq),
            CommitError::NoSpace => Retry::Failed(Error::NoSpace),
            CommitError::Refused(e) => Retry::Failed(e),
            CommitError::PoolFailed(reason) => Retry::Failed(Error::PoolFailed(reason)),
            CommitError::Closed => Retry::Failed(Error::Closed),
        }
    }
}

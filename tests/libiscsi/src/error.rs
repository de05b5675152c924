//! What can go wrong outside of a command.

/// Why a session could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option that libiscsi does not take.
    #[error("option refused: {0}")]
    Option(String),
    /// No TCP connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The login failed: by the target's status (class and detail, RFC 7143 11.13.5), or otherwise.
    #[error("cannot log in: {why}")]
    Login {
        /// The status, if the target gave one.
        status: Option<u16>,
        /// libiscsi's words.
        why: String,
    },
    /// The connection is gone; what was under way ends as [`crate::Outcome::Cancelled`].
    #[error("the connection is lost: {0}")]
    Lost(String),
    /// What was asked for could not even be queued.
    #[error("cannot queue: {0}")]
    Queue(String),
    /// The time that the caller gave is over.
    #[error("no answer in time")]
    Time,
}

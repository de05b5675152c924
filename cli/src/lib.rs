//! All of the `ashlar` binary: the daemon, and every command that administers it.
//!
//! | module | job |
//! |---|---|
//! | `args` | the command line |
//! | `api` | what client and daemon say to each other |
//! | `client` | a call over the daemon's socket |
//! | `commands` | what each command does on the client's side |
//! | `output` | tables, JSON, questions |
//! | `daemon` | `ashlar serve`: the catalogue, its API and the servers, put together |
//!
//! It is a library so that a second binary, `ashlar-faulty`, can be the same program on devices that tests
//! make hang and fail. Nothing else is to use it.
//!
//! Exit codes: 0 done, 1 refused or failed (one line on stderr: what, why, what to do), 2 usage.

mod api;
mod args;
mod client;
mod commands;
mod daemon;
mod output;

#[cfg(feature = "fault-injection")]
pub use volume_manager::faults;

use clap::Parser;
use std::process::ExitCode;

/// What the arguments of the process ask for, to its end.
#[must_use]
pub fn run() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The reader of a pipe may be gone; the exit code still tells.
            eprintln!("ashlar: {e}");
            ExitCode::FAILURE
        }
    }
}

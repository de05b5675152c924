//! The `ashlar` binary: the daemon, and every command that administers it.
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
//! Exit codes: 0 done, 1 refused or failed (one line on stderr: what, why, what to do), 2 usage.

mod api;
mod args;
mod client;
mod commands;
mod daemon;
mod output;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
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

//! What each command does on the client's side: ask the daemon, show its answer.

mod host;
mod pool;
mod share;
mod status;
mod volume;

use crate::args::{Args, Command};
use crate::client::Client;
use crate::daemon;
use crate::output::Output;
use clap::CommandFactory;
use std::error::Error;

type Outcome = Result<(), Box<dyn Error>>;

/// A client and how to print.
struct Context {
    client: Client,
    out: Output,
}

pub(crate) fn run(args: Args) -> Outcome {
    let context = || -> Result<Context, Box<dyn Error>> {
        Ok(Context { client: Client::new(&args.socket)?, out: Output { json: args.json } })
    };
    match args.command {
        Command::Serve(serve) => {
            // The socket's default is the client's; the daemon's own is in its state directory.
            let named = std::env::args().any(|arg| arg.starts_with("--socket"));
            let named = named || std::env::var_os("ASHLAR_SOCKET").is_some();
            Ok(daemon::serve(serve, named.then_some(args.socket))?)
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "ashlar", &mut std::io::stdout());
            Ok(())
        }
        Command::Pool(command) => pool::run(&context()?, command),
        Command::Volume(command) => volume::run(&context()?, command),
        Command::Snapshot(command) => volume::run_snapshot(&context()?, command),
        Command::Clone(clone) => volume::run_clone(&context()?, &clone),
        Command::Host(command) => host::run(&context()?, command),
        Command::Lun(command) => host::run_lun(&context()?, command),
        Command::Share(command) => share::run(&context()?, command),
        Command::Export(command) => share::run_export(&context()?, command),
        Command::File(command) => share::run_file(&context()?, command),
        Command::Status => status::run(&context()?),
    }
}

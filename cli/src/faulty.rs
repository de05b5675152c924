//! `ashlar` for tests, whose devices hang and fail when they are told to: by the socket that the environment
//! variable `ASHLAR_FAULTS` names (`block-layer/src/device/faults.rs` has the orders). Nobody ships it.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(socket) = std::env::var_os("ASHLAR_FAULTS") {
        if let Err(e) = ashlar_cli::faults::listen(socket.as_ref()) {
            eprintln!("ashlar-faulty: {}: {e}", socket.display());
            return ExitCode::FAILURE;
        }
    }
    ashlar_cli::run()
}

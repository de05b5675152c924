//! The child of the kill test: see `ashlar_tests::kill`. Not for people.

use ashlar_tests::kill::{executor, Setup};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let setup = Setup::parse(&arguments).ok_or("usage: kill_load DIR DEVICES MODE DIRTY_KIB FLUSH_MS")?;
    executor::run(&setup)
}

//! The `ashlar` binary: where all crates are put together.

fn main() {
    eprintln!(
        "ashlar: this build holds the storage engine only; the daemon and its commands are not built yet"
    );
    std::process::exit(1);
}

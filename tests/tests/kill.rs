//! A real process under load on real files, killed with SIGKILL at random moments (promise P1): every command
//! that was answered is there after the next open, every other one wholly or not at all, and the accounts
//! agree with a full walk. `ASHLAR_KILL_ROUNDS=n` kills n times; `ASHLAR_KILL_SEED=n` chooses the commands.

#![allow(clippy::unwrap_used)] // all of it is a test

use ashlar_tests::kill::{self, Setup};
use std::path::{Path, PathBuf};

/// A folder of its own, removed unless the test fails: then it is kept, to be looked at.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ashlar-kill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the pool is kept in {}", self.0.display());
        } else {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Kills a pool of `devices` devices `kills` times.
fn survives(name: &str, devices: usize, mode: &str, kills: u64, knobs: (u64, u64)) {
    let seed = number("ASHLAR_KILL_SEED", 1);
    let folder = Folder::new(name);
    let (dirty_kib, flush_ms) = knobs;
    let setup = Setup { dir: folder.0.clone(), devices, mode: mode.to_owned(), dirty_kib, flush_ms };
    println!("{name}: seed {seed}, {kills} kills, {setup:?}");
    let summary = kill::run(Path::new(env!("CARGO_BIN_EXE_kill_load")), &setup, seed, kills as usize);
    println!("{name}: {summary:?}");
    assert!(summary.answered > 0, "the load did something");
}

#[test]
fn acknowledged_commands_survive_kill_9() {
    survives("uring", 1, "uring", number("ASHLAR_KILL_ROUNDS", 10), (1024, 20));
}

#[test]
fn acknowledged_commands_survive_kill_9_on_three_devices() {
    survives("devices", 3, "uring", number("ASHLAR_KILL_ROUNDS", 10).div_ceil(5), (256, 1000));
}

#[test]
fn acknowledged_commands_survive_kill_9_on_the_fallbacks() {
    let kills = number("ASHLAR_KILL_ROUNDS", 10).div_ceil(5);
    survives("threads", 1, "threads", kills, (16 << 10, 1000));
    survives("buffered", 1, "buffered", kills, (1024, 20));
}

//! What an administrator does with pools while they are in use, and what is recorded of it.

use ashlar_tests::daemon::Daemon;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

fn pool(daemon: &Daemon) -> serde_json::Value {
    serde_json::from_str(&daemon.cli("--json pool show fast")).expect("the daemon answers in JSON")
}

#[test]
fn a_pool_grows_with_its_device_and_by_another() {
    let daemon = Daemon::start("grow", 0);
    daemon.cli("pool create fast --device disk:256M");
    let before = pool(&daemon)["capacity"].as_u64().unwrap();
    assert!(daemon.refused("pool grow-device fast --device disk:128M").contains("never shrinks"));
    assert!(daemon.refused("pool grow-device fast --device other:1G").contains("is no device of pool fast"));
    daemon.cli("pool grow-device fast --device disk:512M");
    let grown = pool(&daemon)["capacity"].as_u64().unwrap();
    assert!(grown >= before + (192 << 20), "{before} then {grown}");
    // What was made longer by somebody else is taken as it is.
    let file = std::fs::OpenOptions::new().write(true).open(daemon.dir().join("disk")).unwrap();
    file.set_len(768 << 20).unwrap();
    daemon.cli("pool grow-device fast --device disk");
    let again = pool(&daemon)["capacity"].as_u64().unwrap();
    assert!(again >= grown + (192 << 20), "{grown} then {again}");
    daemon.cli("pool add-device fast --device more:256M");
    assert!(pool(&daemon)["capacity"].as_u64().unwrap() > again);
}

#[test]
fn a_scrub_is_held_and_goes_on() {
    let daemon = Daemon::start("scrub", 0);
    daemon.cli("pool create fast --device disk:256M");
    assert!(daemon.refused("pool scrub fast --pause").contains("no scrub of pool fast runs"));
    daemon.cli("volume create fast/v --size 64M");
    daemon.cli("pool scrub fast --rate 1M");
    let end = Instant::now() + Duration::from_secs(30);
    while pool(&daemon)["scrub"]["running"] == true {
        assert!(Instant::now() < end, "an empty pool is verified at once");
    }
}

#[test]
fn every_change_is_recorded_without_its_secrets() {
    let mut daemon = Daemon::start("audit", 0);
    daemon.cli("pool create fast --device disk:256M");
    let _ = daemon.refused("volume create nowhere/v --size 1G");
    std::fs::write(daemon.dir().join("secret"), "correct horse battery").unwrap();
    daemon.cli("host create h --iqn iqn.2026-11.io.test:h --chap-user u --chap-secret-file secret");
    daemon.cli("pool list");
    let path = daemon.dir().join("state/audit.log");
    let read = || std::fs::read_to_string(&path).expect("the record is there");
    let lines: Vec<serde_json::Value> =
        read().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    assert_eq!(lines.len(), 3, "{}", read());
    let me = own_uid();
    assert!(lines.iter().all(|line| line["uid"] == me && line["pid"].as_i64() > Some(0)), "{}", read());
    assert_eq!((lines[0]["call"].as_str(), lines[0]["status"].as_u64()), (Some("/v1/pools"), Some(200)));
    assert_eq!(lines[0]["content"]["name"], "fast");
    assert_eq!(lines[1]["status"], 404);
    assert_eq!(lines[2]["content"]["chap"]["user"], "u");
    assert!(!read().contains("correct horse") && !daemon.log().contains("correct horse"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(daemon.stop());
    daemon.run();
    daemon.cli("pool delete fast --yes");
    assert_eq!(read().lines().count(), 4, "a restart goes on with the record");
}

/// Our own user id: that of our files.
fn own_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("proc is mounted"))
}

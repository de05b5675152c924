//! libiscsi's own suite against the target over disks in memory: every family, with data loss, a second
//! portal and a read-only LUN. No test fails or is skipped but those that are named here, each with its
//! reason.

use ashlar_tests::memory_target::MemoryTarget;
use ashlar_tests::skip::skip;
use std::process::{Command, Stdio};

/// What a fixed disk that cannot be sanitized has no answer to. `StartStopUnit.Simple` ejects a medium.
const MAY_BE_SKIPPED: [&str; 3] = ["PreventAllow.", "Sanitize.", "StartStopUnit.Simple"];

/// Where a physical block is more than one logical block this test asks for what SBC-3 forbids (decision
/// 0008).
const FAILS_ON_512_BYTES: [&str; 1] = ["GetLBAStatus.UnmapSingle"];

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Runs the suite on a new target, and gives its report, and the tests that failed and that were skipped.
fn run(flags: &[&str], options: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let target = MemoryTarget::start(&[&["--listen", "127.0.0.1:0", "--ro"], flags].concat());
    let suite = ashlar_tests::source::root().join("tests/scripts/iscsi-suite");
    let [first, second] = &target.portals[..] else { panic!("two portals") };
    let json = std::env::temp_dir().join(format!("ashlar-iscsi-suite-{}.json", target.pid()));
    let output = Command::new("python3")
        .arg(suite)
        .args([first, &target.name, "0", "--portal2", second, "--ro-lun", "1", "--json"])
        .arg(&json)
        .args(options)
        .output()
        .expect("the suite runs");
    let report =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let results = std::fs::read_to_string(&json).unwrap_or_else(|e| panic!("no results: {e}\n{report}"));
    let _ = std::fs::remove_file(&json);
    let (failed, skipped) = (with_result(&results, "failed"), with_result(&results, "skipped"));
    assert_eq!(output.status.success(), failed.is_empty(), "{report}");
    (report, failed, skipped)
}

/// Whether the suite can run here.
fn can_run() -> bool {
    for (program, package) in [("iscsi-test-cu", "libiscsi-bin"), ("python3", "python3-minimal")] {
        if !is_there(program) {
            skip("iscsi conformance", &format!("no {program} (Debian package {package})"));
            return false;
        }
    }
    true
}

#[test]
fn libiscsi_finds_no_fault() {
    if can_run() {
        let (report, failed, skipped) = run(&[], &[]);
        assert_eq!(failed, FAILS_ON_512_BYTES, "{report}");
        let other: Vec<&String> =
            skipped.iter().filter(|test| !MAY_BE_SKIPPED.iter().any(|may| test.starts_with(may))).collect();
        assert!(!skipped.is_empty() && other.is_empty(), "skipped: {other:?}\n{report}");
    }
}

#[test]
fn what_follows_sbc_and_not_the_suite_passes_where_both_are_the_same() {
    if can_run() {
        let (report, failed, skipped) = run(&["--4k"], &["--only", "GetLBAStatus"]);
        assert!(failed.is_empty() && skipped.is_empty() && report.contains("3 passed"), "{report}");
    }
}

/// The tests that a report gives this result: each stands in a line of its own, before its result.
fn with_result(json: &str, result: &str) -> Vec<String> {
    let mark = format!("\"result\": \"{result}\"");
    let mut test = "";
    let mut found = Vec::new();
    for line in json.lines().map(str::trim) {
        match line.strip_suffix("\": {").and_then(|name| name.strip_prefix('"')) {
            Some(name) => test = name,
            None if line.starts_with(&mark) => found.push(test.to_owned()),
            None => {}
        }
    }
    found
}

#[test]
fn results_are_found_in_a_report() {
    let json = "\"tests\": {\n\"A.B\": {\n\"result\": \"passed\"\n},\n\"C.D\": {\n \"result\": \"skipped\",";
    assert_eq!((with_result(json, "skipped"), with_result(json, "failed")), (vec!["C.D".to_owned()], vec![]));
}

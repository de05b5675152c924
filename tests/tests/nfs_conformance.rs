//! Debian's libnfs against the server over a tree in memory: its library by `tests/scripts/nfs-smoke`, and
//! its tools. No check fails, and none is skipped but those that need locks.

use ashlar_tests::daemon::installed;
use ashlar_tests::files::Place;
use ashlar_tests::memory_server::MemoryServer;
use ashlar_tests::skip::skip;
use ashlar_tests::source;
use std::process::{Command, Output};

/// Whether libnfs and what runs it are here.
fn can_run(test: &str) -> bool {
    for (program, package) in [("nfs-ls", "libnfs-utils"), ("python3", "python3-minimal")] {
        if !installed(program) {
            skip(test, &format!("no {program} (Debian package {package})"));
            return false;
        }
    }
    true
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').expect("an address has a port").1
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn smoke(server: &MemoryServer, ports: (&str, &str)) -> (bool, String) {
    let output = Command::new("python3")
        .arg(source::root().join("tests/scripts/nfs-smoke"))
        .args([&format!("127.0.0.1:{}", ports.0), &server.path, "--mountport", ports.1])
        .output()
        .expect("the checks run");
    (output.status.success(), said(&output))
}

#[test]
fn libnfs_finds_no_fault() {
    if can_run("libnfs_finds_no_fault") {
        let server = MemoryServer::start(&[]);
        let (nfs, mount) = (port(&server.nfs), port(&server.mount));
        for ports in [(nfs, nfs), (nfs, mount)] {
            let (passed, report) = smoke(&server, ports);
            assert!(passed && report.contains("70 passed, 0 failed, 1 skipped"), "{report}");
        }
    }
}

#[test]
fn several_threads_serve_as_one_does() {
    if can_run("several_threads_serve_as_one_does") {
        let server = MemoryServer::start(&["--threads", "3"]);
        let (passed, report) = smoke(&server, (port(&server.nfs), port(&server.mount)));
        assert!(passed, "{report}");
    }
}

#[test]
fn the_tools_copy_files_there_and_back() {
    if !can_run("the_tools_copy_files_there_and_back") {
        return;
    }
    let server = MemoryServer::start(&[]);
    let (nfs, mount) = (port(&server.nfs), port(&server.mount));
    let url = |name: &str| {
        format!("nfs://127.0.0.1{}{name}?nfsport={nfs}&mountport={mount}&version=3", server.path)
    };
    let place = Place::new("the_tools_copy_files_there_and_back");
    let (there, back) = (place.path("there"), place.path("back"));
    let data: Vec<u8> = (0..3_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&there, &data).expect("written");
    for (from, to) in [(there.display().to_string(), url("/f")), (url("/f"), back.display().to_string())] {
        let output = Command::new("nfs-cp").args([from, to]).output().expect("it runs");
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(std::fs::read(&back).expect("it was copied") == data);
    let listed = Command::new("nfs-ls").arg(url("/")).output().expect("it runs");
    assert!(said(&listed).contains("3000001") && said(&listed).contains('f'), "{}", said(&listed));
}

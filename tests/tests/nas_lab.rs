//! A server for NFS and the client of a real Linux kernel. What happens in a story is in its script in
//! `tests/lab/guest`; `docs/testing.md` says how to run one by hand.

use ashlar_tests::lab::Lab;
use ashlar_tests::memory_server::MemoryServer;

#[test]
fn the_kernels_client_finds_a_tree_of_files_as_posix_has_it() {
    let Some(mut lab) = Lab::start("the_kernels_client_finds_a_tree_of_files_as_posix_has_it", 1) else {
        return;
    };
    let ports = ["--listen", "0.0.0.0:2049", "--mount-listen", "0.0.0.0:20048"];
    let server = MemoryServer::start_by(&lab.launcher(), &ports);
    assert!(lab.guest("nfs.sh").contains("passed"));
    drop(server);
}

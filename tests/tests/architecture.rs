//! Holds the layers apart: which crate may know which, and whose words stay out of whose sources.
//!
//! The rules are those of `docs/architecture.md`. A new crate, edge or exception is a change of the design:
//! it is made here, in the same commit as the decision record that explains it.

use ashlar_tests::source::{self, File};

/// Crate directory, package, and the packages of this workspace that it may depend on.
const EDGES: &[(&str, &str, &[&str])] = &[
    ("block-layer", "block-layer", &[]),
    ("snapshots", "snapshots", &["block-layer"]),
    ("volume-manager", "volume-manager", &["snapshots", "block-layer"]),
    ("san-iscsi", "san-iscsi", &[]),
    ("nas-nfs", "nas-nfs", &[]),
    ("cli", "ashlar-cli", &["volume-manager", "san-iscsi", "nas-nfs"]),
    // The tests look into everything, but nothing looks into them.
    (
        "tests",
        "ashlar-tests",
        &["block-layer", "snapshots", "volume-manager", "san-iscsi", "nas-nfs", "ashlar-cli", "libiscsi"],
    ),
    ("tests/libiscsi", "libiscsi", &[]),
];

/// Words of the storage protocols: none below `volume-manager`.
const PROTOCOL_WORDS: &[&str] =
    &["lun", "pdu", "cdb", "iscsi", "scsi", "r2t", "cmdsn", "fua", "nfs", "filehandle", "fileid"];

/// Words of the engine: none above `snapshots`.
const STORAGE_WORDS: &[&str] = &["journal", "page", "pba"];

/// SCSI has pages of its own (mode, log, VPD), so `san-iscsi` may say the word.
const STORAGE_WORDS_IN_SCSI: &[&str] = &["journal", "pba"];

/// Which words stay out of which crate.
const BANNED_WORDS: &[(&str, &[&str])] = &[
    ("block-layer", PROTOCOL_WORDS),
    ("snapshots", PROTOCOL_WORDS),
    ("volume-manager", STORAGE_WORDS),
    ("san-iscsi", STORAGE_WORDS_IN_SCSI),
    ("nas-nfs", STORAGE_WORDS),
    ("cli", STORAGE_WORDS),
];

/// The only places where `unsafe` may stand: the devices, and the binding to a C library that only tests use.
const UNSAFE_HOMES: [&str; 2] = ["block-layer/src/device/", "tests/libiscsi/src/"];

#[test]
fn a_crate_knows_only_the_crates_below_it() {
    let packages: Vec<&str> = EDGES.iter().map(|(_, package, _)| *package).collect();
    let mut faults = Vec::new();
    for (dir, _, allowed) in EDGES {
        let path = format!("{dir}/Cargo.toml");
        let manifest =
            std::fs::read_to_string(source::root().join(&path)).expect("each crate has a manifest");
        for (name, line) in source::dependencies(&manifest) {
            if packages.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
                faults.push(format!("{path}:{line}: {dir} must not know {name}"));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_crate_of_the_workspace_has_its_edges_here() {
    let manifest =
        std::fs::read_to_string(source::root().join("Cargo.toml")).expect("the workspace manifest");
    let start = manifest.find("members").expect("the workspace names its members");
    let list = manifest[start..].split(']').next().expect("a split has a first part");
    let mut members: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let mut known: Vec<&str> = EDGES.iter().map(|(dir, _, _)| *dir).collect();
    members.sort_unstable();
    known.sort_unstable();
    assert_eq!(members, known, "Cargo.toml's members and the table of edges in tests/tests/architecture.rs");
}

#[test]
fn no_layer_speaks_the_words_of_another() {
    let mut faults = Vec::new();
    for file in rust_sources() {
        for (dir, banned) in BANNED_WORDS {
            if file.path.starts_with(&format!("{dir}/")) {
                find_words(&file, banned, &mut faults);
            }
        }
    }
    assert_none(&faults);
}

/// CRC-32C as the library calls it: the name is its own, and no word of ours.
const FOREIGN: &str = "crc_fast::crc32_iscsi(";

fn find_words(file: &File, banned: &[&str], faults: &mut Vec<String>) {
    for (n, line) in file.text.lines().enumerate() {
        let words = source::words(&line.replace(FOREIGN, ""));
        for word in banned.iter().filter(|b| words.iter().any(|w| w == *b)) {
            faults.push(format!("{}:{}: the word `{word}` belongs to another layer", file.path, n + 1));
        }
    }
}

#[test]
fn unsafe_code_stays_with_the_devices_and_the_c_library_of_tests() {
    let mut faults = Vec::new();
    let may = |file: &File| UNSAFE_HOMES.iter().any(|home| file.path.starts_with(home));
    for file in rust_sources().iter().filter(|file| !may(file)) {
        for (n, line) in source::code_only(&file.text).lines().enumerate() {
            if line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe") {
                faults.push(format!("{}:{}: `unsafe` is for {UNSAFE_HOMES:?} alone", file.path, n + 1));
            }
        }
    }
    assert_none(&faults);
}

fn rust_sources() -> Vec<File> {
    let mut files = source::files();
    files.retain(|f| f.path.ends_with(".rs"));
    assert!(!files.is_empty(), "no Rust source was found");
    files
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

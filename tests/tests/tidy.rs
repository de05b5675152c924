//! Holds the measures of the repository: line and function lengths, module heads, words that must not stay,
//! nothing of the machine it was written on, a reason for each dependency.
//!
//! Every message says file, line and rule. What a layer may know of another is in `architecture.rs`.

use ashlar_tests::source::{self, File};

/// Columns of a line, in characters.
const LINE_COLUMNS: usize = 110;
/// Lines of a function, from its `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

#[test]
fn lines_fit_the_page() {
    let faults = in_lines(&rust_and_scripts(), |_, line| {
        let columns = line.chars().count();
        (columns > LINE_COLUMNS).then(|| format!("{columns} columns, the limit is {LINE_COLUMNS}"))
    });
    assert_none(&faults);
}

#[test]
fn functions_fit_a_screen() {
    let mut faults = Vec::new();
    for file in rust() {
        for (name, line, lines) in functions(&source::code_only(&file.text)) {
            if lines > FUNCTION_LINES {
                let rule = format!("fn {name} has {lines} lines, the limit is {FUNCTION_LINES}");
                faults.push(format!("{}:{line}: {rule}", file.path));
            }
        }
    }
    assert_none(&faults);
}

/// Name, first line and length of every function that has a body. `code` holds no comment and no string.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let bytes = code.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ").filter(|(at, _)| *at == 0 || !is_word(at - 1)) {
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let Some(len) = body_end(&code[at..]).filter(|_| !name.is_empty()) {
            let first = code[..at].matches('\n').count() + 1;
            found.push((name, first, code[at..at + len].matches('\n').count() + 1));
        }
    }
    found
}

/// Bytes from a `fn` to the brace that closes its body; none for a declaration.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut parens) = (0_i32, 0_i32);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(at);
                }
            }
            ';' if braces == 0 && parens == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn no_unfinished_work_is_marked_in_the_tree() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let faults = in_lines(&source::files(), |_, line| {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != ':').collect();
        let mark = marks
            .iter()
            .find(|m| words.iter().any(|w| w.trim_end_matches(':') == m.trim_end_matches(':')))?;
        Some(format!("{mark} is not left in the tree: do it, or open an issue"))
    });
    assert_none(&faults);
}

#[test]
fn libraries_do_not_print() {
    // Tests and examples speak to whoever runs them, `cli` to people.
    let free = |path: &str| {
        let path = format!("/{path}");
        path.starts_with("/cli/")
            || ["/tests/", "/examples/", "/benches/"].iter().any(|dir| path.contains(dir))
            || path.ends_with("tests.rs")
    };
    let mut faults = Vec::new();
    for file in rust() {
        for (n, line) in source::code_only(&file.text).lines().enumerate() {
            if line.contains("dbg!") {
                faults.push(format!("{}:{}: dbg! is not left in the tree", file.path, n + 1));
            }
            if !free(&file.path) && ["print!", "println!"].iter().any(|m| line.contains(m)) {
                faults.push(format!("{}:{}: a library does not print", file.path, n + 1));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn every_source_file_opens_with_its_job() {
    let heads = rust().into_iter().filter(|f| !f.text.starts_with("//! "));
    let faults: Vec<String> =
        heads.map(|f| format!("{}:1: a file opens with `//!`: its job and its invariants", f.path)).collect();
    assert_none(&faults);
}

#[test]
fn nothing_in_the_tree_knows_the_machine_it_was_written_on() {
    let places =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tmp/", "wt/")];
    let mirrors =
        [concat!("replace-", "with"), concat!("spar", "se+"), concat!("index-", "url"), "[registries"];
    let this = "tests/tests/tidy.rs";
    let files: Vec<File> = source::files().into_iter().filter(|f| f.path != this).collect();
    let faults = in_lines(&files, |path, line| {
        if let Some(place) = places.iter().find(|p| has_path(line, p)) {
            return Some(format!("`{place}` is a path of one machine"));
        }
        if let Some(mirror) = mirrors.iter().find(|m| line.contains(**m)) {
            return Some(format!("`{mirror}` binds the tree to one registry or mirror"));
        }
        let foreign =
            path.ends_with("Cargo.lock") && line.starts_with("source = ") && !line.contains(CRATES_IO);
        foreign.then(|| format!("a locked package comes from {CRATES_IO} only"))
    });
    assert_none(&faults);
}

/// The one source of packages, as a lock file names it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Whether `line` holds an absolute path that starts with `place`; `docs/work/` holds none.
fn has_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/~*}".contains(c))
    })
}

#[test]
fn every_direct_dependency_has_a_reason_in_deny_toml() {
    let deny = read("deny.toml");
    let mut faults = Vec::new();
    for file in source::files().iter().filter(|f| f.path.ends_with("Cargo.toml") && f.path != "Cargo.toml") {
        for (name, line) in source::dependencies(&file.text) {
            if !is_own(&name) && !has_reason(&deny, &name) {
                faults.push(format!("{}:{line}: {name} has no entry with a reason in deny.toml", file.path));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn deny_toml_gives_no_reason_for_a_dependency_that_is_gone() {
    let manifests: Vec<File> =
        source::files().into_iter().filter(|f| f.path.ends_with("Cargo.toml")).collect();
    let used = |name: &str| manifests.iter().any(|m| source::dependencies(&m.text).contains_key(name));
    let mut faults = Vec::new();
    for (n, line) in read("deny.toml").lines().enumerate() {
        let Some(name) = line.strip_prefix("crate = ").map(|v| v.trim_matches('"')) else { continue };
        if !used(name) {
            faults.push(format!("deny.toml:{}: no crate depends on {name}", n + 1));
        }
    }
    assert_none(&faults);
}

/// Whether a crate of this repository has the name.
fn is_own(name: &str) -> bool {
    ["ashlar-tests", "libiscsi"].contains(&name) || source::root().join(name).join("Cargo.toml").exists()
}

/// Whether an entry for `name` stands in `deny`, with a reason of more than a word on the line below.
fn has_reason(deny: &str, name: &str) -> bool {
    let entry = format!("crate = \"{name}\"");
    let mut lines = deny.lines().skip_while(|line| *line != entry);
    let reason = lines.nth(1).and_then(|line| line.strip_prefix("reason = "));
    reason.is_some_and(|text| text.split_whitespace().count() > 2)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(source::root().join(path)).expect("the file stands in the repository")
}

fn rust() -> Vec<File> {
    source::files().into_iter().filter(|f| f.path.ends_with(".rs")).collect()
}

fn rust_and_scripts() -> Vec<File> {
    let is_ours = |p: &str| p.ends_with(".rs") || p.ends_with(".sh") || p == ".ci/run" || p == "Makefile";
    source::files().into_iter().filter(|f| is_ours(&f.path)).collect()
}

/// What `rule` says of each line, as `file:line: fault`.
fn in_lines(files: &[File], rule: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for file in files {
        for (n, line) in file.text.lines().enumerate() {
            faults.extend(rule(&file.path, line).map(|fault| format!("{}:{}: {fault}", file.path, n + 1)));
        }
    }
    faults
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_brace_counter_measures_functions() {
    let code = "trait T {\n fn none(&self, a: [u8; 2]) -> [u8; 3];\n}\n\
                fn two() {\n}\nfn f<F: Fn(u8)>(f: fn(u8)) { {} }\n";
    assert_eq!(functions(code), [("two".to_owned(), 4, 2), ("f".to_owned(), 6, 1)]);
}

#[test]
fn only_absolute_paths_are_machine_paths() {
    let place = concat!("/wo", "rk/");
    assert!(has_path(&format!("see {place}x"), place) && has_path(&format!("\"{place}"), place));
    assert!(!has_path(&format!("net{place}x"), place) && !has_path(&format!("..{place}x"), place));
}

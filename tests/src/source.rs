//! The repository read as text: what the tests of its rules (`tidy`, `architecture`) stand on.
//!
//! Reads Rust with a small lexer that knows comments, strings and character literals, and nothing else: the
//! rules it serves are about words, lines and braces. A file that it misreads must be odd enough to change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub struct File {
    /// Path from the repository's root, `/` between its parts.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("the tests crate lies inside the repository").to_path_buf()
}

/// Every UTF-8 file of the repository in path order, without build output and git's own files.
///
/// # Panics
/// When a directory or a file cannot be read.
#[must_use]
pub fn files() -> Vec<File> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(dir: &Path, prefix: &str, found: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("a directory of the repository is readable") {
        let entry = entry.expect("a directory of the repository is readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && ![".ci", ".cargo", ".gitignore"].contains(&name.as_str());
        if hidden || ["target", "bench-results", "artifacts"].contains(&name.as_str()) {
            continue;
        }
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().expect("a directory entry has a type");
        if kind.is_dir() {
            walk(&entry.path(), &path, found);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).expect("a file of the repository is readable");
            if let Ok(text) = String::from_utf8(bytes) {
                found.push(File { path, text });
            }
        }
    }
}

/// Rust source with its comments, strings and character literals replaced by spaces; lines stay lines.
#[must_use]
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' if !in_word(&chars, at) => raw_string_end(&chars, at).unwrap_or(at),
            'b' if !in_word(&chars, at) && chars.get(at + 1) == Some(&'r') => {
                raw_string_end(&chars, at + 1).unwrap_or(at)
            }
            '\'' => char_end(&chars, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Whether the character before `at` continues a word, so that an `r` or a `b` at `at` starts no literal.
fn in_word(chars: &[char], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| chars[i]);
    before(1).is_some_and(|c| c.is_alphanumeric() || c == '_') && before(1) != Some('b')
        || before(1) == Some('b') && before(2).is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

fn comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn string_end(chars: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_string_end(chars: &[char], r: usize) -> Option<usize> {
    let hashes = chars[r + 1..].iter().take_while(|c| **c == '#').count();
    let open = r + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| chars[at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'));
    let close = (open + 1..chars.len()).find(|at| closes(*at));
    Some(close.map_or(chars.len(), |at| at + 1 + hashes))
}

/// The end of a character literal; a lifetime is none.
fn char_end(chars: &[char], open: usize) -> Option<usize> {
    if chars.get(open + 1) == Some(&'\\') {
        let close = (open + 3..chars.len()).find(|at| chars[*at] == '\'')?;
        return Some(close + 1);
    }
    (chars.get(open + 2) == Some(&'\'')).then_some(open + 3)
}

/// The words of a line in lower case, with identifiers taken apart: `MapPage` and `map_page` are both `map`
/// and `page`, `PDUs` is `pdu` and `pdus`.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in line.split(|c: char| !c.is_alphanumeric()) {
        let chars: Vec<char> = run.chars().collect();
        let mut start = 0;
        for at in 1..=chars.len() {
            let boundary = at == chars.len() || is_hump(&chars, at);
            if boundary {
                words.push(chars[start..at].iter().collect::<String>().to_lowercase());
                start = at;
            }
        }
        words.push(run.to_lowercase());
    }
    let singular: Vec<String> = words.iter().filter_map(|w| w.strip_suffix('s')).map(str::to_owned).collect();
    words.extend(singular);
    words.retain(|w| !w.is_empty());
    words
}

/// Whether a new word starts at `at`: `mapPage`, `LUNMap`; but the plural `LUNs` is one word.
fn is_hump(chars: &[char], at: usize) -> bool {
    let (before, here) = (chars[at - 1], chars[at]);
    let next_lower = chars.get(at + 1).is_some_and(|c| c.is_lowercase());
    let plural = chars.get(at + 1) == Some(&'s') && at + 2 == chars.len();
    here.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit() || next_lower && !plural)
}

/// The dependencies of a `Cargo.toml`, of every kind and target: package name to the line it stands on.
#[must_use]
pub fn dependencies(manifest: &str) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut inside = false;
    for (n, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                found.insert(name.trim_matches('"').to_owned(), n + 1);
            }
        } else if inside && !line.starts_with('#') {
            let Some((key, value)) = line.split_once('=') else { continue };
            let renamed = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
            let key = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
            found.insert(renamed.unwrap_or(key).to_owned(), n + 1);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_chars_are_blanked_and_lines_are_kept() {
        let text = "let a = \"{ // \\\" \"; // {\nlet b = '{'; /* { /* } */ \n */ \
                    let c = r#\"}\"}\"#; fn f<'a>() {}";
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.matches('{').count(), 1);
        assert_eq!(code.matches('}').count(), 1);
        assert!(code.contains("fn f<'a>() {}"));
        assert_eq!(code_only(r"b'\'' b'\\' '\u{7f}' '\n' x").trim_start_matches(['b', ' ']), "x");
        assert_eq!(code_only("br\"{\" b\"{\" var\"{\"").matches('{').count(), 0);
    }

    #[test]
    fn identifiers_are_taken_apart_into_words() {
        for (line, word) in [
            ("struct MapPage", "page"),
            ("fn map_pages()", "page"),
            ("the LUNs", "lun"),
            ("LUNMap", "lun"),
            ("an iSCSI word", "iscsi"),
            ("max_pdu_len", "pdu"),
            ("PduFault", "pdu"),
        ] {
            assert!(words(line).iter().any(|w| w == word), "{line}: {:?}", words(line));
        }
        assert!(!words("homepage volunteer").iter().any(|w| w == "page" || w == "lun"));
    }

    #[test]
    fn dependencies_of_every_kind_are_found() {
        let manifest = "[package]
name = \"x\"
\
            [dependencies]
a.workspace = true
b = { version = \"1\" }
# c = 1
\
            [dev-dependencies]
d = { package = \"real\", version = \"1\" }
\
            [target.'cfg(unix)'.dependencies]
e = \"1\"
[dependencies.f]
version = \"1\"
[lints]
g = 1
";
        let names: Vec<String> = dependencies(manifest).into_keys().collect();
        // `[dependencies.f]` is a section of its own: its keys are no dependencies.
        assert_eq!(names, ["a", "b", "e", "f", "real"]);
    }
}

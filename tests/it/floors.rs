//! Keeps the house: a file imports only from its own floor or from lower ones, no two modules import each other, and the
//! storage engine and its codec are named in `src/outbox/` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The floors, lowest first. A new top-level module gets its place here.
const FLOORS: &[&[&str]] = &[
    &["limits", "clock"],
    &["model"],
    &["signature"],
    &["wheel", "policy"],
    &["config"],
    &["observe"],
    &["systemd"],
    &["outbox", "deliver"],
    &["schedule"],
    &["dispatch"],
    &["front"],
    &["intake"],
    &["inbound", "api"],
    &["daemon"],
    &["cli"],
    &["fuzzing"],
];

/// Crates that only one module may name.
const WALLED: &[(&str, &str)] = &[("sled", "outbox"), ("bincode", "outbox")];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// Rust source without comments and without what stands in string and character literals. Line breaks stay.
fn bare(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut i = 0;
    while i < chars.len() {
        let next = chars.get(i + 1).copied();
        match chars[i] {
            '/' if next == Some('/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if next == Some('*') => {
                let mut depth = 0;
                while i < chars.len() {
                    match (chars[i], chars.get(i + 1)) {
                        ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
                        ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
                        (c, _) => {
                            if c == '\n' {
                                out.push('\n');
                            }
                            i += 1;
                        }
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            'r' if !ends_in_word(&out) && raw_string(&chars[i..]).is_some() => {
                let len = raw_string(&chars[i..]).unwrap_or(1);
                out.push_str("\"\"");
                out.extend(chars[i..i + len].iter().filter(|c| **c == '\n'));
                i += len;
            }
            '"' => {
                out.push_str("\"\"");
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    if chars[i] == '\n' {
                        out.push('\n');
                    }
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            '\'' if next == Some('\\') => {
                // An escaped character: past the backslash and what it escapes, up to the closing quote.
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if chars.get(i + 2) == Some(&'\'') => i += 3,
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    out
}

fn ends_in_word(text: &str) -> bool {
    // The `b` of `br"…"` and the `c` of `cr"…"` belong to the literal.
    let text = text.strip_suffix(['b', 'c']).unwrap_or(text);
    text.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The length of the raw string literal at the start of `chars`, if there is one.
fn raw_string(chars: &[char]) -> Option<usize> {
    let hashes = chars[1..].iter().take_while(|c| **c == '#').count();
    if chars.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut i = 2 + hashes;
    while i < chars.len() {
        if chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

/// The words and the single signs of bare source, each with its line.
fn tokens(bare: &str) -> Vec<(String, usize)> {
    let mut tokens = Vec::new();
    for (line, text) in bare.lines().enumerate() {
        let mut word = String::new();
        for c in text.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push((std::mem::take(&mut word), line + 1));
            }
            if !c.is_whitespace() {
                tokens.push((c.to_string(), line + 1));
            }
        }
    }
    tokens
}

/// The top-level modules that a file names through `crate::…` or enough `super::…`, with the line of each.
fn imports(tokens: &[(String, usize)], depth: usize) -> Vec<(String, usize)> {
    let word = |i: usize| tokens.get(i).map_or("", |token| token.0.as_str());
    let separator = |i: usize| word(i) == ":" && word(i + 1) == ":";
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let inside_path = i >= 2 && separator(i - 2);
        let at_root = match word(i) {
            "crate" if separator(i + 1) => Some(i + 3),
            // `super` leads out of the file's own module after as many steps as the module lies deep.
            "super" if !inside_path && separator(i + 1) => {
                let mut steps = 1;
                let mut end = i + 3;
                while word(end) == "super" && separator(end + 1) {
                    (steps, end) = (steps + 1, end + 3);
                }
                (steps >= depth && depth > 0).then_some(end)
            }
            _ => None,
        };
        match at_root {
            Some(end) if word(end) == "{" => {
                // `crate::{a::b, c::{d, e}}`: a module's name follows each brace or comma of the outer braces.
                let (mut depth, mut j) = (1, end + 1);
                while depth > 0 && j < tokens.len() {
                    match word(j) {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        "," => {}
                        name if depth == 1 && matches!(word(j - 1), "{" | ",") => {
                            found.push((name.to_owned(), tokens[j].1));
                        }
                        _ => {}
                    }
                    j += 1;
                }
            }
            Some(end) if end < tokens.len() => found.push((word(end).to_owned(), tokens[end].1)),
            _ => {}
        }
        i += 1;
    }
    found
}

/// What is wrong with a set of files: (path below `src/`, text).
fn faults(files: &[(PathBuf, String)]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files {
        let parts: Vec<String> =
            path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let module = parts[0].as_str();
        let tokens = tokens(&bare(text));
        for (krate, home) in WALLED {
            for (_, line) in tokens.iter().filter(|(word, _)| word == krate && module != *home) {
                faults.push(format!("src/{}:{line}: {krate} is named outside src/{home}/", path.display()));
            }
        }
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(own) = floor(module) else {
            faults.push(format!("src/{}: the module {module:?} has no floor; give it one in FLOORS", path.display()));
            continue;
        };
        let depth = parts.len() - usize::from(parts.last().is_some_and(|last| last == "mod"));
        for (name, line) in imports(&tokens, depth) {
            if name == module {
                continue;
            }
            let Some(other) = floor(&name) else { continue };
            if other > own {
                faults.push(format!("src/{}:{line}: {module} imports {name}, which stands above it", path.display()));
            }
            edges.entry(module.to_owned()).or_default().insert(name);
        }
    }
    for (from, targets) in &edges {
        for to in targets.iter().filter(|to| from < *to && edges.get(*to).is_some_and(|back| back.contains(from))) {
            faults.push(format!("{from} and {to} import each other"));
        }
    }
    faults
}

fn source_files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a readable file");
                files.push((path.strip_prefix(&root).expect("below src").to_owned(), text));
            }
        }
    }
    files
}

#[test]
fn every_file_keeps_to_its_floor() {
    let files = source_files();
    assert!(files.len() > 10, "only {} files were found", files.len());
    let faults = faults(&files);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_checker_finds_what_it_is_for() {
    let bad: &[(&str, &str, &str)] = &[
        ("policy/retry.rs", "use crate::outbox::Outbox;", "policy imports outbox"),
        ("policy/retry.rs", "use crate::{clock::UnixMs, model::{event, text}, api};", "policy imports api"),
        ("policy/retry.rs", "fn f() {\n    crate::daemon::Daemon::start();\n}", ":2: policy imports daemon"),
        ("policy/retry.rs", "use super::super::config::Config;", "policy imports config"),
        ("policy/mod.rs", "use super::config::Config;", "policy imports config"),
        ("wheel.rs", "pub(in crate::wheel) fn f(x: &'static str) { crate::schedule::go('\\'', '\"', x) }", "schedule"),
        ("wheel.rs", "const A: &str = r#\"\"\"#; use crate::schedule::Lane;", "schedule"),
        ("api/mod.rs", "use sled::Db;", "sled is named outside src/outbox/"),
        ("daemon.rs", "fn f() { let _ = bincode::serialize(&1); }", "bincode is named outside src/outbox/"),
        ("lib.rs", "pub extern crate sled;", "sled is named outside src/outbox/"),
        ("attic.rs", "", "has no floor"),
    ];
    for (path, text, wanted) in bad {
        let found = faults(&[(PathBuf::from(path), (*text).to_owned())]);
        assert!(found.len() == 1 && found[0].contains(wanted), "{path}: {text}\n{found:?}");
    }
    let circle = [
        (PathBuf::from("outbox/mod.rs"), "use crate::deliver::Job;".to_owned()),
        (PathBuf::from("deliver/mod.rs"), "use crate::outbox::Outbox;".to_owned()),
    ];
    assert_eq!(faults(&circle), ["deliver and outbox import each other"]);
}

#[test]
fn the_checker_lets_the_rest_pass() {
    let good: &[(&str, &str)] = &[
        ("outbox/store.rs", "use sled::Db;\nuse crate::{clock::UnixMs, model::event::Event};"),
        ("api/mod.rs", "// sled, bincode and crate::daemon in a comment /* and */\nuse crate::outbox::Outbox;"),
        ("api/mod.rs", "/* crate::daemon /* nested */ sled:: */ const A: &str = \"crate::daemon::x \\\" sled::\";"),
        ("api/mod.rs", "const A: &[u8] = br##\"crate::cli \"# sled\"##; const Q: char = '\"'; use crate::outbox::B;"),
        ("model/event.rs", "use super::text::EventId;\nmod tests { use super::*; }"),
        ("api/mod.rs", "use hyper::{daemon::x, crate_::y};"),
        ("main.rs", "fn main() { webhookd::cli::main() }"),
    ];
    for (path, text) in good {
        assert_eq!(faults(&[(PathBuf::from(path), (*text).to_owned())]), Vec::<String>::new(), "{path}: {text}");
    }
}

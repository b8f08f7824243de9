//! The layout of `src/` as a test: the rooms, the arrows between them, and what pure rooms may not name
//! (design §3, §7; the map is in `src/lib.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// What the top of the house may use.
const EVERY_ROOM: &[&str] =
    &["control", "net", "translate", "proxy", "h1", "time", "telemetry", "limits", "config", "flags", "demo"];

/// Each room and the rooms it may use, itself aside.
const ARROWS: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("h1", &["limits"]),
    ("time", &["limits"]),
    ("telemetry", &["limits", "time"]),
    ("config", &["limits", "time"]),
    ("flags", &["config", "limits", "time"]),
    ("proxy", &["h1", "time", "telemetry", "limits", "config"]),
    ("translate", &["proxy", "h1", "limits"]),
    ("net", &["translate", "proxy", "h1", "time", "telemetry", "limits", "config"]),
    (
        "control",
        &["net", "translate", "proxy", "h1", "time", "telemetry", "limits", "config", "flags", "demo"],
    ),
    ("demo", &["proxy", "h1", "time", "telemetry", "limits", "config"]),
    ("main", EVERY_ROOM),
    ("lib", EVERY_ROOM),
];

/// Rooms that decide and never act: time and randomness are their arguments.
const PURE: &[&str] = &["limits", "h1", "time", "telemetry", "config", "flags", "proxy", "translate"];

/// What a pure room may not name, each with what it stands for.
const IMPURE: &[(&str, &str)] = &[
    ("TcpStream", "a socket"),
    ("TcpListener", "a socket"),
    ("UdpSocket", "a socket"),
    ("UnixStream", "a socket"),
    ("UnixListener", "a socket"),
    ("ToSocketAddrs", "name resolution"),
    ("socket2", "a socket"),
    ("rustix", "a system call"),
    ("monoio", "the runtime"),
    ("io_uring", "the runtime"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("std::thread", "a thread"),
    ("thread::spawn", "a thread"),
    ("thread_local", "a thread"),
    ("async", "a task"),
    ("await", "a task"),
    ("rand", "randomness"),
    ("getrandom", "randomness"),
    ("std::fs", "a file"),
];

/// Lines a source file may have before its tests.
const LINES_MAX: usize = 800;

/// One source file.
struct Source {
    path: PathBuf,
    /// The module directly below the crate root that it belongs to.
    room: String,
    text: String,
}

impl Source {
    /// The lines before the tests, numbered from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }

    /// As [`Source::lines`], without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| (number, without_comment(line)))
    }

    /// Whether the file is nothing but tests.
    fn is_tests(&self) -> bool {
        self.path
            .file_stem()
            .is_some_and(|stem| stem == "tests" || stem.to_string_lossy().ends_with("_tests"))
            || self.path.components().any(|part| part.as_os_str() == "tests")
    }
}

/// A line up to its comment. A `//` inside a string, as in a URL, stays.
fn without_comment(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count().is_multiple_of(2));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// All sources of the crate.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|ext| ext == "rs") => sources.push(source(&root, path)),
                false => {}
            }
        }
    }
    assert!(sources.len() > 10, "the sources are not where they were");
    sources
}

fn source(root: &Path, path: PathBuf) -> Source {
    let below = path.strip_prefix(root).expect("below src").to_owned();
    let first = below.components().next().expect("a name").as_os_str().to_string_lossy();
    let room = first.trim_end_matches(".rs").to_owned();
    let text = fs::read_to_string(&path).expect("UTF-8");
    Source { path: below, room, text }
}

/// Whether `word` stands in `code` by itself and not as a part of another identifier.
fn names(code: &str, word: &str) -> bool {
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| {
        !inner(code[..at].chars().next_back()) && !inner(code[at + word.len()..].chars().next())
    })
}

/// The rooms that code names behind `root`, grouped imports included.
fn rooms_named(root: &str, code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices(root) {
        let rest = code[at + root.len()..].trim_start();
        match rest.strip_prefix('{') {
            Some(group) => rooms.extend(group_heads(group)),
            None => rooms.push(first_word(rest)),
        }
    }
    rooms
}

/// The first segment of each path in `use crate::{ a::b, c::{d, e} }`, after its opening brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut at_head, mut heads) = (0, true, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && c.is_alphabetic() => {
                heads.push(first_word(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Every room is in the table, and no room names one it may not use.
#[test]
fn arrows_point_one_way() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_tests()) {
        let allowed = ARROWS.iter().find(|(room, _)| *room == source.room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} is no room of the map", source.room));
        let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
        let root = if source.room == "main" { "ringress::" } else { "crate::" };
        for named in rooms_named(root, &code) {
            let is_room = ARROWS.iter().any(|(room, _)| *room == named);
            if is_room && named != source.room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {} may not use {named}", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pure rooms name no socket, clock, thread, task, file or source of randomness.
#[test]
fn pure_rooms_name_nothing_impure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.room.as_str()) && !source.is_tests())
    {
        for (number, line) in source.code() {
            for (word, kind) in IMPURE.iter().filter(|(word, _)| names(line, word)) {
                wrong.push(format!("{}:{number}: {word} ({kind})", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No source file has more than 800 lines before its tests.
#[test]
fn files_stay_short() {
    let sources = sources();
    let long: Vec<_> =
        sources.iter().filter(|source| source.lines().count() > LINES_MAX).map(|s| &s.path).collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

/// Every `unsafe` block has its `// SAFETY:` on the line itself or in the comment right above, and every file that
/// needs one allows it by name (the crate denies `unsafe_code`).
#[test]
fn unsafe_code_says_why_it_is_sound() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if names(without_comment(line), "unsafe") && !has_safety_comment(&lines, index) {
                wrong.push(format!("{}:{}", source.path.display(), index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe without SAFETY: {}", wrong.join(", "));
}

/// Looks upward through comments and attributes, and through the start of the statement the block is part of.
fn has_safety_comment(lines: &[&str], index: usize) -> bool {
    let says_so = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    let above = lines[..index].iter().rev().take(12);
    let belongs = |line: &str| {
        line.starts_with("//")
            || line.starts_with("#[")
            || !(line.is_empty() || line.ends_with([';', '}', '{']))
    };
    says_so(lines[index]) || above.map(|line| line.trim()).take_while(|line| belongs(line)).any(says_so)
}

/// The reader of this test is itself right about what it reads.
#[test]
fn the_reader_reads() {
    assert_eq!(rooms_named("crate::", "use crate::{h1::{a, b}, net, proxy::c};"), ["h1", "net", "proxy"]);
    assert_eq!(rooms_named("crate::", "let x = crate::time::Timestamp(0);"), ["time"]);
    assert!(names("std::time::Instant::now()", "Instant") && !names("Instantly", "Instant"));
    assert!(!names("operand", "rand") && names("rand::random()", "rand"));
    assert_eq!(without_comment("a(\"http://b\"); // c"), "a(\"http://b\"); ");
    assert!(has_safety_comment(&["// SAFETY: checked", "let a = unsafe { b() };"], 1));
    assert!(!has_safety_comment(&["// fine", "let a = unsafe { b() };"], 1));
}

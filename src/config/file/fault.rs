//! What is wrong with a configuration file: where, in which words, and what was probably meant.

use std::fmt::Write;
use std::ops::Range;

/// Characters of a line that are shown; a longer one is cut around the fault.
const LINE_CHARS_MAX: usize = 120;
/// Words listed where none is near.
const WORDS_LISTED_MAX: usize = 16;

/// What is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The bytes at fault; `None` if it is nothing in particular, or something that the file does not say.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A place in a text as people count: from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Fault {
    /// Something is wrong at `span`.
    pub(super) fn at(span: &Option<Range<usize>>, message: impl Into<String>) -> Fault {
        Fault { span: span.clone(), message: message.into(), help: None }
    }

    /// With what to do about it.
    pub(super) fn help(self, help: impl Into<String>) -> Fault {
        Fault { help: Some(help.into()), ..self }
    }

    /// With what to do about it, where nothing is known yet.
    pub(super) fn or_help(self, help: impl Into<String>) -> Fault {
        if self.help.is_some() { self } else { self.help(help) }
    }

    /// With what was probably meant instead of `word`.
    pub(super) fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Fault {
        let known: Vec<&str> = known.into_iter().collect();
        match (nearest(word, &known), known.len()) {
            (Some(near), _) => self.help(format!("did you mean `{near}`?")),
            (None, 1..=WORDS_LISTED_MAX) => {
                let words: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
                self.help(format!("known here: {}", words.join(", ")))
            }
            (None, _) => self,
        }
    }

    /// What the reader of TOML says, in our words.
    pub(super) fn from_toml(error: &toml::de::Error) -> Fault {
        let span = error.span();
        let message = error.message().trim();
        if let Some((word, known)) = unknown(message, "unknown field `") {
            return advice_for_key(Fault::at(&span, format!("unknown key `{word}`")), word, &known);
        }
        if let Some((word, known)) = unknown(message, "unknown variant `") {
            return Fault::at(&span, format!("unknown word `{word}`")).suggest(word, known);
        }
        if let Some(name) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            return Fault::at(&span, format!("`{name}` is missing"));
        }
        if let Some((found, expected)) = wrong_type(message) {
            return advice_for_type(Fault::at(&span, format!("expected {expected}, found {found}")), &found);
        }
        Fault::at(&span, message)
    }

    /// Where it begins in `text`.
    #[must_use]
    pub fn place(&self, text: &str) -> Option<Place> {
        let start = self.span.as_ref()?.start.min(text.len());
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Some(Place { line, column: before.get(line_start..)?.chars().count() + 1 })
    }

    /// The whole of it for standard error, line ends included; `name` is what the operator calls the file.
    #[must_use]
    pub fn render(&self, name: &str, text: &str) -> String {
        let mut out = String::new();
        // Writing to a `String` cannot fail.
        let _ = self.write(&mut out, name, text);
        out
    }

    fn write(&self, out: &mut String, name: &str, text: &str) -> std::fmt::Result {
        let Some(place) = self.place(text) else {
            writeln!(out, "error: {name}: {}", visible(&self.message))?;
            return self.help.iter().try_for_each(|help| writeln!(out, "  = help: {}", visible(help)));
        };
        let gutter = " ".repeat(place.line.to_string().len());
        writeln!(out, "error: {name}:{}:{}: {}", place.line, place.column, visible(&self.message))?;
        writeln!(out, "{gutter} |")?;
        let line = text.lines().nth(place.line - 1).unwrap_or_default();
        let (shown, caret_at) = window(line, place.column);
        writeln!(out, "{} | {shown}", place.line)?;
        let pad: String = shown.chars().take(caret_at).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let room = shown.chars().count().saturating_sub(caret_at);
        writeln!(out, "{gutter} | {pad}{}", "^".repeat(self.width(text).min(room).max(1)))?;
        self.help.iter().try_for_each(|help| writeln!(out, "{gutter} = help: {}", visible(help)))
    }

    /// Characters at fault on the first line.
    fn width(&self, text: &str) -> usize {
        let at_fault = self.span.clone().and_then(|span| text.get(span)).unwrap_or_default();
        at_fault.lines().next().unwrap_or_default().chars().count()
    }
}

/// The part of a line around `column` (from 1), and where that column is in it (from 0).
fn window(line: &str, column: usize) -> (String, usize) {
    let at = column.saturating_sub(1);
    let skipped =
        if line.chars().count() <= LINE_CHARS_MAX { 0 } else { at.saturating_sub(LINE_CHARS_MAX / 2) };
    let part: String = line.chars().skip(skipped).take(LINE_CHARS_MAX).collect();
    (visible(&part), at - skipped)
}

/// Without what a terminal would obey.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// `unknown field `x`, expected one of `a`, `b`` taken apart.
fn unknown<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let rest = message.strip_prefix(prefix)?;
    let (word, rest) = match rest.rsplit_once("`, expected ") {
        Some(parts) => parts,
        None => (rest.split_once('`')?.0, ""),
    };
    Some((word, rest.split('`').skip(1).step_by(2).collect()))
}

/// Keys that have a place of their own, and what to say about them elsewhere.
const ELSEWHERE: [(&str, &str); 12] = [
    ("handshake", "this timer runs before a route is known: set it in `[timeouts]`"),
    ("header", "this timer runs before a route is known: set it in `[timeouts]`"),
    ("keepalive", "this timer runs between requests, where there is no route: set it in `[timeouts]`"),
    ("drain", "this timer is the process's: set it in `[timeouts]`"),
    ("upstream", "upstreams are in `[groups.NAME]`: upstreams = [\"127.0.0.1:3000\"]"),
    ("listen", "write `[[listener]]` with address = \"127.0.0.1:8080\""),
    ("cert", "certificates are in `[[tls.certificate]]`, each with `cert` and `key`"),
    ("key", "certificates are in `[[tls.certificate]]`, each with `cert` and `key`"),
    ("certificates", "write `[[tls.certificate]]`, each with `cert` and `key`"),
    ("host", "write hosts = [\"example.com\"]"),
    ("prefix", "`path` matches a path and what is below it"),
    ("status", "set it in `[timeouts]`"),
];

fn advice_for_key(fault: Fault, word: &str, known: &[&str]) -> Fault {
    let elsewhere = ELSEWHERE.iter().find(|(key, _)| *key == word).map(|(_, help)| *help);
    match (nearest(word, known), elsewhere) {
        (None, Some(help)) => fault.help(help),
        (_, _) => fault.suggest(word, known.iter().copied()),
    }
}

/// `invalid type: X, expected Y` taken apart.
fn wrong_type(message: &str) -> Option<(String, String)> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let expected = match expected {
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    let found = match found {
        "map" => "a table",
        "sequence" => "a list",
        _ => found,
    };
    let found = found.trim_end_matches(" as i128").trim_end_matches(" as u64");
    Some((found.replace("boolean", "the switch").replace("string ", "the text "), expected.to_owned()))
}

fn advice_for_type(fault: Fault, found: &str) -> Fault {
    match (fault.message.contains("expected a list"), found) {
        (true, "a table") => {
            fault.help("a table that may repeat has two brackets, such as [[route]] or [[listener]]")
        }
        (true, _) => fault.help("a list has brackets, such as [\"a\", \"b\"]"),
        (false, "a list") => fault.help("write one value, without brackets"),
        (false, _) => fault,
    }
}

/// The known word that `word` was probably meant to be.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let word = plain(word);
    let distance = |known: &str| strsim::damerau_levenshtein(&word, &plain(known));
    // A third of its letters may be wrong, and one that begins with it is near too.
    let near = known.iter().map(|known| (distance(known), *known)).min_by_key(|(distance, _)| *distance);
    let close = near.filter(|(distance, known)| *distance <= known.len().max(word.len()).div_ceil(3).min(4));
    let longer = || {
        let mut ends =
            known.iter().filter(|known| word.len() >= 3 && known.split('-').any(|part| part == word));
        ends.next().copied().filter(|_| ends.next().is_none())
    };
    close.map(|(_, known)| known).filter(|known| known.len() > 1).or_else(longer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_its_line_and_what_was_meant() {
        let text = "[server]\n\tworkres = 4 # \u{1b}[31m\n";
        let fault = Fault { span: Some(10..17), message: "unknown key `workres`".into(), help: None }
            .suggest("workres", ["workers", "pin"]);
        assert_eq!(
            fault.render("ringress.toml", text),
            "error: ringress.toml:2:2: unknown key `workres`\n  |\n2 | \tworkres = 4 # \u{fffd}[31m\n  | \t^^^^^^^\n  \
             = help: did you mean `workers`?\n"
        );
    }

    #[test]
    fn columns_are_characters_and_long_lines_are_cut() {
        let text = format!("a = \"{}\"\r\nbä = 1", "ö".repeat(500));
        let fault = |span| Fault { span: Some(span), message: String::new(), help: None };
        assert_eq!(fault(1011..1012).place(&text), Some(Place { line: 2, column: 3 }));
        let middle = fault(505..507).render("x", &text);
        assert!(middle.lines().all(|line| line.chars().count() < 130), "{middle}");
        // A place that is no place is none.
        assert_eq!(fault(6..7).place(&text), None);
        assert!(fault(5000..6000).render("x", &text).contains("x:2:7"));
    }

    #[test]
    fn words_that_are_far_are_listed() {
        let fault = Fault::at(&None, "x").suggest("zebra", ["hash", "round-robin"]);
        assert_eq!(fault.help.as_deref(), Some("known here: `hash`, `round-robin`"));
        assert_eq!(fault.render("f", ""), "error: f: x\n  = help: known here: `hash`, `round-robin`\n");
        assert_eq!(nearest("max_head_bytes", &["max-head-bytes", "max-fields"]), Some("max-head-bytes"));
        assert_eq!(nearest("idle", &["stream-idle", "request"]), Some("stream-idle"));
    }
}

//! Access-log lines in logfmt.

use std::collections::BTreeMap;

/// One line: `key=value`, values in quotes where they must be.
#[derive(Clone, Debug)]
pub struct Line(BTreeMap<String, String>);

impl Line {
    /// Splits a line.
    pub fn parse(text: &str) -> Line {
        let mut pairs = BTreeMap::new();
        let mut rest = text.trim();
        while let Some((key, tail)) = rest.split_once('=') {
            let (value, tail) = split_value(tail);
            pairs.insert(key.trim().to_owned(), value);
            rest = tail;
        }
        Line(pairs)
    }

    /// A value; the empty string for `-`, which stands for "absent".
    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        match self.0.get(key).map(String::as_str) {
            Some("-") => "",
            Some(value) => value,
            None => panic!("no key {key} in {self:?}"),
        }
    }

    /// A value that counts something.
    #[track_caller]
    pub fn number(&self, key: &str) -> f64 {
        self.get(key).parse().unwrap_or_else(|_| panic!("{key} is not a number in {self:?}"))
    }

    /// The keys of the line.
    pub fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// The value at the start of `text`, and what follows it.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(' ').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

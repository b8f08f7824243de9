//! JSON, written by hand: a dozen numbers and a few names do not need a library that knows every type.

use std::fmt::{Display, Write};

/// Text under way.
#[derive(Debug, Default)]
pub struct Json {
    text: String,
    /// The next value is the first of its list or object.
    first: bool,
}

impl Json {
    /// An object, whose members `write` writes.
    pub fn object(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::default();
        json.nested('{', '}', write);
        json.text
    }

    /// A member that is a number, or anything else that is JSON as it stands.
    pub fn raw(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.text, "{value}"); // a `String` takes everything
    }

    /// A member that is text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quote(value);
    }

    /// A member that is a list of numbers.
    pub fn numbers(&mut self, name: &str, values: impl IntoIterator<Item = u64>) {
        self.name(name);
        self.nested('[', ']', |json| {
            for value in values {
                json.comma();
                let _ = write!(json.text, "{value}");
            }
        });
    }

    /// A member that is a list of objects.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Json, T),
    ) {
        self.name(name);
        self.nested('[', ']', |json| {
            for item in items {
                json.comma();
                json.nested('{', '}', |json| write(json, item));
            }
        });
    }

    fn nested(&mut self, open: char, close: char, write: impl FnOnce(&mut Json)) {
        self.text.push(open);
        self.first = true;
        write(self);
        self.text.push(close);
        self.first = false;
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.quote(name);
        self.text.push(':');
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.text.push(',');
        }
    }

    /// RFC 8259 §7: quotes, backslashes and controls are escaped.
    fn quote(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                c if c < ' ' => drop(write!(self.text, "\\u{:04x}", u32::from(c))),
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a reader gets what was written. Method: another library reads it.
    #[test]
    fn what_is_written_is_read_back() {
        let nasty = "a\"b\\c\nd\u{1}é";
        let text = Json::object(|json| {
            json.raw("one", 1);
            json.text(nasty, nasty);
            json.numbers("none", []);
            json.numbers("some", [1, 2]);
            json.objects("objects", ["x", "y"], |json, name| json.text("name", name));
            json.raw("last", true);
        });
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "one": 1, nasty: nasty, "none": [], "some": [1, 2],
            "objects": [{"name": "x"}, {"name": "y"}], "last": true,
        });
        assert_eq!(read, expected);
    }
}

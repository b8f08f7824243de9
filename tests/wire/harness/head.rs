//! A head as the other side sees it, read leniently: the scripts judge, the reader does not.

/// Start line and fields of one message.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The request or status line without its line end.
    pub first: String,
    /// Name and value of each field, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Splits the bytes of a head, its empty line included.
    pub fn parse(bytes: &[u8]) -> Head {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter(|line| !line.is_empty()).map(split_field).collect();
        Head { first, fields }
    }

    /// The status of a response; 0 when there is none.
    pub fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or_default()
    }

    /// The first value of a field.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().copied()
    }

    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Whether a field is there.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether a list field has an element, case aside.
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.values(name).iter().flat_map(|v| v.split(',')).any(|e| e.trim().eq_ignore_ascii_case(element))
    }

    /// The declared length of the body.
    pub fn content_length(&self) -> Option<usize> {
        self.value("content-length").map(|v| v.parse().expect("a number"))
    }
}

/// Splits `name: value`.
pub fn split_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

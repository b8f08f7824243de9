//! Writes families of metrics as text, in either format: names, labels, numbers and the lines above them.

use std::fmt::{self, Display, Write};

use super::distribution::Observed;
use super::exposition::Format;

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// Text under way.
#[derive(Debug)]
pub struct Text {
    text: String,
    format: Format,
}

impl Text {
    /// No text yet.
    #[must_use]
    pub fn new(format: Format) -> Text {
        Text { text: String::with_capacity(16 * 1024), format }
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> String {
        match self.format {
            Format::Prometheus => {}
            Format::OpenMetrics => self.text.push_str("# EOF\n"),
        }
        self.text
    }

    fn write(&mut self, what: fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(what); // a `String` takes everything
    }

    fn head(&mut self, name: &str, suffix: &str, kind: &str, help: &str) {
        self.write(format_args!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
    }

    /// Begins the family of counters `name`, which is without `_total`: OpenMetrics leaves it out here, and nowhere else.
    pub fn counter(&mut self, name: &str, help: &str) {
        let suffix = match self.format {
            Format::Prometheus => "_total",
            Format::OpenMetrics => "",
        };
        self.head(name, suffix, "counter", help);
    }

    /// One of them.
    pub fn count(&mut self, name: &str, labels: &[Label<'_>], value: u64) {
        self.line(name, "_total", labels, value);
    }

    /// Begins a family of gauges.
    pub fn gauge(&mut self, name: &str, help: &str) {
        self.head(name, "", "gauge", help);
    }

    /// One of them.
    pub fn level(&mut self, name: &str, labels: &[Label<'_>], value: impl Display) {
        self.line(name, "", labels, value);
    }

    /// Begins a family of histograms.
    pub fn histogram(&mut self, name: &str, help: &str) {
        self.head(name, "", "histogram", help);
    }

    /// One of them, in seconds, of microseconds.
    pub fn seconds<const N: usize>(&mut self, name: &str, labels: &[Label<'_>], observed: &Observed<N>) {
        #[expect(clippy::cast_precision_loss, reason = "bounds are small and round")]
        let bound = |us: u64| us as f64 / 1e6;
        self.buckets(name, labels, observed, bound);
        self.line(name, "_sum", labels, Seconds { us: observed.sum });
        self.line(name, "_count", labels, observed.count());
    }

    /// One of them, in bytes.
    pub fn bytes<const N: usize>(&mut self, name: &str, labels: &[Label<'_>], observed: &Observed<N>) {
        #[expect(clippy::cast_precision_loss, reason = "bounds are powers of two")]
        let bound = |bytes: u64| bytes as f64;
        self.buckets(name, labels, observed, bound);
        self.line(name, "_sum", labels, observed.sum);
        self.line(name, "_count", labels, observed.count());
    }

    fn buckets<const N: usize>(
        &mut self,
        name: &str,
        labels: &[Label<'_>],
        observed: &Observed<N>,
        bound: impl Fn(u64) -> f64,
    ) {
        // `{:?}` writes a whole number as `1.0`, as OpenMetrics asks for.
        let bounds = observed.cumulative().map(|(le, count)| (format!("{:?}", bound(le)), count));
        for (le, count) in bounds.chain([("+Inf".to_owned(), observed.count())]) {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", &*le)]).collect();
            self.line(name, "_bucket", &labels, count);
        }
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &[Label<'_>], value: impl Display) {
        self.write(format_args!("{name}{suffix}"));
        for (index, (key, word)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            self.write(format_args!("{before}{key}=\"{}\"", Escaped(word)));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{end} {value}\n"));
    }
}

/// Microseconds as seconds, to the last digit.
#[derive(Clone, Copy, Debug)]
pub struct Seconds {
    /// Microseconds.
    pub us: u64,
}

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.us / 1_000_000, self.us % 1_000_000)
    }
}

/// The value of a label. Names of routes are the operator's, and may hold anything.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    //! Goal: lines are those of the grammar, to the byte. Method: exact texts.

    use super::super::distribution::{Distribution, SIZES_BYTES};
    use super::*;

    static BOUNDS: [u64; 2] = [500, 1_000_000];

    #[test]
    fn a_histogram_accumulates_and_ends_with_infinity() {
        let times = Distribution::new(&BOUNDS);
        [500, 501, 3_000_000].iter().for_each(|it| times.observe(*it));
        let mut text = Text::new(Format::Prometheus);
        text.histogram("t_seconds", "Times.");
        text.seconds("t_seconds", &[("route", "a")], &times.read());
        assert_eq!(
            text.finish(),
            "# HELP t_seconds Times.\n# TYPE t_seconds histogram\n\
             t_seconds_bucket{route=\"a\",le=\"0.0005\"} 1\n\
             t_seconds_bucket{route=\"a\",le=\"1.0\"} 2\n\
             t_seconds_bucket{route=\"a\",le=\"+Inf\"} 3\n\
             t_seconds_sum{route=\"a\"} 3.001001\n\
             t_seconds_count{route=\"a\"} 3\n"
        );
    }

    #[test]
    fn sizes_are_whole_numbers() {
        let sizes = Distribution::new(&SIZES_BYTES);
        sizes.observe(7);
        let mut text = Text::new(Format::OpenMetrics);
        text.bytes("s_bytes", &[], &sizes.read());
        let text = text.finish();
        assert!(text.starts_with("s_bytes_bucket{le=\"0.0\"} 0\ns_bytes_bucket{le=\"256.0\"} 1\n"), "{text}");
        assert!(text.contains("le=\"1073741824.0\"} 1\n"), "{text}");
        assert!(text.ends_with("s_bytes_sum 7\ns_bytes_count 1\n# EOF\n"), "{text}");
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let mut text = Text::new(Format::Prometheus);
        text.count("n", &[("route", "a\\b\"c\nd"), ("class", "2xx")], 1);
        text.level("g", &[], Seconds { us: 1 });
        assert_eq!(text.finish(), "n_total{route=\"a\\\\b\\\"c\\nd\",class=\"2xx\"} 1\ng 0.000001\n");
    }
}

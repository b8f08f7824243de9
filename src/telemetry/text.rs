//! Writes families of metrics as text, in either format: names, labels, numbers and the lines above them.

use std::fmt::{self, Display, Write};

use super::histogram::{Counts, Scale};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a scraper with these `Accept` values wants: OpenMetrics if it names it and does not like plain
    /// text better (RFC 9110 §12.5.1), else Prometheus, which whoever reads metrics understands.
    #[must_use]
    pub fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
        let (mut open, mut plain) = (0.0, 0.0);
        for element in accept.flat_map(|value| value.split(',')) {
            let mut parts = element.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default();
            let weight = weight(parts);
            if range.eq_ignore_ascii_case("application/openmetrics-text") {
                open = weight.max(open);
            } else if range.eq_ignore_ascii_case("text/plain") {
                plain = weight.max(plain);
            }
        }
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Prometheus }
    }

    /// The value of Content-Type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The `q` among the parameters of a media range: 1 where there is none, 0 where it is not a number.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> f32 {
    let q = parameters.find_map(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("q") => Some(value),
        Some(_) | None => None,
    });
    q.map_or(1.0, |q| q.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0))
}

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

    /// One of them. Bounds and sum of times are in seconds, so `name` ends in `_seconds` or `_bytes`.
    pub fn distribution(&mut self, name: &str, labels: &[Label<'_>], counts: &Counts) {
        for (le, count) in counts.cumulative() {
            let labels: Vec<Label<'_>> = labels.iter().copied().chain([("le", le)]).collect();
            self.line(name, "_bucket", &labels, count);
        }
        match counts.scale() {
            Scale::Time => self.line(name, "_sum", labels, Seconds { us: counts.sum() }),
            Scale::Size => self.line(name, "_sum", labels, counts.sum()),
        }
        self.line(name, "_count", labels, counts.count());
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

    use super::super::histogram::Histogram;
    use super::*;

    #[test]
    fn a_histogram_is_exact() {
        let (times, sizes) = (Histogram::new(Scale::Time), Histogram::new(Scale::Size));
        [150, 100, 3_456_789, 4_000_000_000].into_iter().for_each(|us| times.observe(us));
        sizes.observe(5_000_000);
        let mut text = Text::new(Format::OpenMetrics);
        text.histogram("a_seconds", "A.");
        text.distribution("a_seconds", &[], &times.counts());
        text.histogram("b_bytes", "B.");
        text.distribution("b_bytes", &[("route", "a,"), ("class", "")], &sizes.counts());
        text.distribution("b_bytes", &[("route", "r")], &Counts::new(Scale::Size));
        let text = text.finish();
        assert!(text.starts_with(
            "# HELP a_seconds A.\n\
             # TYPE a_seconds histogram\n\
             a_seconds_bucket{le=\"0.0001\"} 1\n\
             a_seconds_bucket{le=\"0.0002\"} 2\n\
             a_seconds_bucket{le=\"0.0005\"} 2\n"
        ));
        assert!(text.contains(
            "a_seconds_bucket{le=\"3600.0\"} 3\n\
             a_seconds_bucket{le=\"+Inf\"} 4\n\
             a_seconds_sum 4003.457039\n\
             a_seconds_count 4\n\
             # HELP b_bytes B.\n"
        ));
        let labels = r#"route="a,",class="""#;
        assert!(text.contains(&format!("\nb_bytes_bucket{{{labels},le=\"4.194304e+06\"}} 0\n")), "{text}");
        assert!(text.contains(&format!("\nb_bytes_bucket{{{labels},le=\"8.388608e+06\"}} 1\n")), "{text}");
        assert!(text.contains(&format!("\nb_bytes_sum{{{labels}}} 5000000\nb_bytes_count{{{labels}}} 1\n")));
        assert!(
            text.ends_with("b_bytes_sum{route=\"r\"} 0\nb_bytes_count{route=\"r\"} 0\n# EOF\n"),
            "zeros too"
        );
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let mut text = Text::new(Format::Prometheus);
        text.count("n", &[("route", "a\\b\"c\nd"), ("class", "2xx")], 1);
        text.level("g", &[], Seconds { us: 1 });
        assert_eq!(text.finish(), "n_total{route=\"a\\\\b\\\"c\\nd\",class=\"2xx\"} 1\ng 0.000001\n");
    }

    #[test]
    fn open_metrics_are_for_those_who_ask() {
        use Format::{OpenMetrics, Prometheus};
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (&[][..], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/plain"], Prometheus),
            (&["text/html, application/xhtml+xml, */*;q=0.8"], Prometheus),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; version=1.0.0; charset=utf-8"], OpenMetrics),
            (&["text/plain;q=0.5", "application/openmetrics-text;q=0.7"], OpenMetrics),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.5"], Prometheus),
            (&["application/openmetrics-text;q=0"], Prometheus),
            (&["application/openmetrics-text;q=much"], Prometheus),
            (&["application/openmetrics-text;q=NaN"], Prometheus),
            (&["application/openmetrics-textual"], Prometheus),
            (&[prometheus_3], OpenMetrics),
        ] {
            assert_eq!(Format::wanted(accept.iter().copied()), format, "{accept:?}");
        }
    }
}

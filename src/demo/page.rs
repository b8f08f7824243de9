//! `/`: the page, one file without external assets, completed with the table of endpoints.

use super::exchange::Exchange;
use super::fault::Fault;
use super::reply::Reply;
use super::route::ROUTES;
use std::fmt::Write;
use std::sync::LazyLock;

const TEMPLATE: &str = include_str!("page.html");
/// Where the rows of the table of endpoints go.
const ROWS_MARK: &str = "<!-- endpoints -->";
/// Stands in a command for the address under which the page was loaded, which only the browser knows.
const BASE_MARK: &str = "{base}";
static PAGE: LazyLock<String> = LazyLock::new(|| TEMPLATE.replace(ROWS_MARK, &rows()));

/// Serves `/`.
pub(super) fn serve(exchange: &mut Exchange<'_>) -> Result<(), Fault> {
    let reply = Reply::new(200, "text/html; charset=utf-8").field("Cache-Control", "no-cache");
    exchange.answer(&reply, text().as_bytes())
}

/// The whole page.
pub(super) fn text() -> &'static str {
    &PAGE
}

fn rows() -> String {
    let mut rows = String::new();
    for route in ROUTES {
        let (pattern, about, curl) =
            (escape(&route.pattern()), escape(route.about), escape(&route.curl(BASE_MARK)));
        // A String takes everything.
        let _ = writeln!(
            rows,
            "<li><code class=\"path\">{pattern}</code> <span>{about}</span><pre><code>{curl}</code></pre></li>"
        );
    }
    rows
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

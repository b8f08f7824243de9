//! What `ringress --demo` prints: what runs where, and a command to paste for each endpoint.

use super::route::ROUTES;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Prints what runs where, and for each endpoint what it does and a curl command through the proxy at `proxy`.
/// The commands start with two spaces and `curl `.
pub fn print_banner(proxy: SocketAddr) {
    let mut stdout = std::io::stdout().lock();
    // A closed standard output is no reason not to serve.
    let _ = stdout.write_all(banner(proxy).as_bytes()).and_then(|()| stdout.flush());
}

/// The text of [`print_banner`].
pub(super) fn banner(proxy: SocketAddr) -> String {
    let base = base_url(proxy);
    let mut text = format!(
        "Ringress is serving {base}/\n\n\
         Behind it, in this same process, runs a demo origin on a loopback port of its own. Open the page in a\n\
         browser, or paste any of these into another terminal. Ctrl-C stops both.\n"
    );
    for route in ROUTES {
        text.push_str(&format!("\n{}  {}\n  {}\n", route.pattern(), route.about, route.curl(&base)));
    }
    text.push('\n');
    text
}

/// A URL that reaches a listener: one bound to every address is reached through loopback.
fn base_url(proxy: SocketAddr) -> String {
    let ip = match proxy.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, proxy.port()))
}

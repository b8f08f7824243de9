//! Goal: no endpoint is missing where people look for it, and every command that is printed works.

use crate::demo::banner::banner;
use crate::demo::route::ROUTES;
use crate::demo::{not_found, page};

#[test]
fn every_endpoint_is_in_the_banner_the_page_and_the_404() {
    let banner = banner("127.0.0.1:8080".parse().unwrap());
    for route in ROUTES {
        let pattern = route.pattern();
        assert!(banner.contains(&format!("\n{pattern}  ")), "{pattern} in the banner");
        assert!(banner.contains(&format!("\n  {}\n", route.curl("http://127.0.0.1:8080"))), "{pattern}");
        assert!(
            page::text().contains(&format!(">{}<", pattern.replace('&', "&amp;"))),
            "{pattern} on the page"
        );
        assert!(not_found::text().contains(&pattern), "{pattern} in the 404");
    }
    let lines = banner.lines().filter(|line| line.starts_with("  curl ")).count();
    assert_eq!(lines, ROUTES.len());
}

#[test]
fn the_page_is_filled_in() {
    assert!(!page::text().contains("<!-- endpoints -->"));
}

#[test]
fn the_banner_names_an_address_that_can_be_reached() {
    for (listener, base) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("0.0.0.0:80", "http://127.0.0.1:80/"),
        ("[::]:80", "'http://[::1]:80/'"),
        ("[::1]:81", "'http://[::1]:81/'"),
        ("192.0.2.7:82", "http://192.0.2.7:82/"),
    ] {
        let text = banner(listener.parse().unwrap());
        assert!(text.contains(&format!("\n  curl {base}\n")), "{listener}: {text}");
    }
}

//! Routes that no request can reach, because routes above have them all.

use super::Fault;
use crate::config::file::document;
use crate::config::file::scalar::Table;
use crate::config::route::{Host, Matches, Route};

/// Whether requests are left for `route` below the routes `above`.
///
/// # Errors
/// None are.
pub fn check(above: &[Route], route: &Route, written: &Table<document::Route>) -> Result<(), Fault> {
    let matches = &route.matches;
    let taker = |host: Option<&Host>| above.iter().find(|other| takes(&other.matches, matches, host));
    if matches.hosts.is_empty() {
        return match taker(None) {
            Some(first) => Err(unreachable(first, written)),
            None => Ok(()),
        };
    }
    let takers: Vec<&Route> = matches.hosts.iter().map_while(|host| taker(Some(host))).collect();
    match takers.first() {
        Some(first) if takers.len() == matches.hosts.len() => Err(unreachable(first, written)),
        Some(_) | None => Ok(()),
    }
}

/// Whether every request for `host` that `below` matches is one that `above` matches, equally specific in everything:
/// then the route that is written first has it.
fn takes(above: &Matches, below: &Matches, host: Option<&Host>) -> bool {
    let same_host = match host {
        Some(host) => above.hosts.contains(host),
        None => above.hosts.is_empty(),
    };
    let methods = match (above.methods.is_empty(), below.methods.is_empty()) {
        (true, true) => true,
        (false, false) => below.methods.iter().all(|method| above.methods.contains(method)),
        (true, false) | (false, true) => false,
    };
    let fields = above.fields.len() == below.fields.len()
        && above.fields.iter().all(|field| {
            below
                .fields
                .iter()
                .any(|it| it.name == field.name && (field.value.is_none() || it.value == field.value))
        });
    same_host && above.path == below.path && methods && fields
}

fn unreachable(first: &Route, written: &Table<document::Route>) -> Fault {
    let text = format!("no request reaches this route: `{}` above has them all", first.name);
    Fault::at(&written.span, text)
        .help("drop one of them, or give this one another host, path, method or header")
}

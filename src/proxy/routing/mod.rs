//! Which route a request takes: the routes of a configuration, compiled once, asked once a request.
//!
//! ```text
//!  authority -> host::Key -> table of that host        -> exact path, else the longest prefix,      -> rules: methods,
//!                            else of its wildcard         else the next shorter one, ...               fields, order
//!                            else of every host
//! ```
//! The order is that of [`config::Route`](Route): of all routes that match, the most specific one. So a host whose own
//! routes all say no falls back to those of its wildcard, and then to those of every host; nothing is decided by host
//! alone. What is asked about is the path that is forwarded, in normal form ([`path`]): a route that guards `/admin`
//! cannot be gone round by writing `/%61dmin` or `/x/../admin`.
//!
//! A question costs a hash of the host and a binary search of its paths, whatever the number of routes, and no
//! allocation. A configuration whose one route takes everything is not asked anything.

mod host;
pub mod path;
mod table;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use memchr::memchr;

use crate::config::Route;
use crate::config::route::{FieldMatch, Host, Matches, PathMatch};

use super::source::Source;
pub(super) use host::without_port;
use table::{Draft, Table};

/// What a route is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The authority, as in [`RequestHead::authority`](crate::h1::RequestHead); may be empty.
    pub authority: &'a [u8],
    /// The target to forward, in normal form ([`path::target`]) unless the operator wants none, with its query or without.
    pub path: &'a [u8],
    /// The method, as sent.
    pub method: &'a [u8],
    /// The fields.
    pub source: Source<'a>,
}

/// The routes of a configuration.
#[derive(Debug)]
pub struct Router {
    /// The only route there is, when it takes everything.
    only: Option<usize>,
    /// By exact host.
    hosts: HashMap<Box<[u8]>, Table>,
    /// By what stands behind the first label of a host.
    wildcards: HashMap<Box<[u8]>, Table>,
    /// For every host.
    any: Table,
    /// What routes ask for beside host and path, by index.
    rules: Box<[Rule]>,
}

impl Router {
    /// Compiles `routes`; what is found are indices of it.
    #[must_use]
    pub fn new(routes: &[Route]) -> Router {
        let (mut hosts, mut wildcards, mut any) = (HashMap::new(), HashMap::new(), Draft::default());
        for (route, matches) in routes.iter().map(|route| &route.matches).enumerate() {
            if matches.hosts.is_empty() {
                any.add(&matches.path, route);
            }
            for name in &matches.hosts {
                let (drafts, name) = match name {
                    Host::Exact(name) => (&mut hosts, name),
                    Host::Wildcard(name) => (&mut wildcards, name),
                };
                let draft: &mut Draft = drafts.entry(host::configured(name)).or_default();
                draft.add(&matches.path, route);
            }
        }
        let rules: Box<[Rule]> = routes.iter().map(|route| Rule::of(&route.matches)).collect();
        let compiled = |drafts: HashMap<Box<[u8]>, Draft>| {
            drafts.into_iter().map(|(name, draft)| (name, draft.compile(&rules))).collect()
        };
        Router {
            only: matches!(routes, [route] if takes_everything(&route.matches)).then_some(0),
            hosts: compiled(hosts),
            wildcards: compiled(wildcards),
            any: any.compile(&rules),
            rules,
        }
    }

    /// The index of the route that has the request; `None` if none does.
    #[must_use]
    pub fn find(&self, asked: Asked<'_>) -> Option<usize> {
        if self.only.is_some() {
            return self.only;
        }
        let end = memchr(b'?', asked.path).unwrap_or(asked.path.len());
        let asked = Asked { path: asked.path.get(..end).unwrap_or_default(), ..asked };
        self.find_by_host(asked).or_else(|| self.any.find(asked, &self.rules))
    }

    /// The route for the very host that is asked for, or for its wildcard.
    fn find_by_host(&self, asked: Asked<'_>) -> Option<usize> {
        if self.hosts.is_empty() && self.wildcards.is_empty() {
            return None;
        }
        let key = host::Key::of(asked.authority)?;
        let find = |table: &Table| table.find(asked, &self.rules);
        let exact = self.hosts.get(key.host()).and_then(find);
        exact.or_else(|| self.wildcards.get(key.parent()?).and_then(find))
    }
}

/// Whether no request can miss it.
fn takes_everything(matches: &Matches) -> bool {
    let whole = matches!(&matches.path, PathMatch::Prefix(prefix) if matches!(&**prefix, "" | "/"));
    whole && matches.hosts.is_empty() && matches.methods.is_empty() && matches.fields.is_empty()
}

/// What a route asks for beside host and path.
#[derive(Debug)]
struct Rule {
    methods: Box<[Box<str>]>,
    fields: Box<[FieldMatch]>,
}

impl Rule {
    fn of(matches: &Matches) -> Rule {
        Rule {
            methods: matches.methods.clone().into_boxed_slice(),
            fields: matches.fields.clone().into_boxed_slice(),
        }
    }

    /// Sorts the more specific first, among routes with one host and path.
    fn rank(&self) -> (bool, std::cmp::Reverse<usize>) {
        (self.methods.is_empty(), std::cmp::Reverse(self.fields.len()))
    }

    fn takes(&self, asked: Asked<'_>) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|m| m.as_bytes() == asked.method);
        method && self.fields.iter().all(|field| has_field(asked.source, field))
    }
}

/// Whether a field line of this name is there, with the value that is asked for if there is one.
fn has_field(source: Source<'_>, wanted: &FieldMatch) -> bool {
    source.fields.iter().any(|field| {
        let value =
            wanted.value.as_ref().is_none_or(|value| value.as_bytes() == field.value.of(source.bytes));
        value && field.name.of(source.bytes).eq_ignore_ascii_case(wanted.name.as_bytes())
    })
}

//! The routes of one host, found by path.
//!
//! Prefixes are kept sorted, each with the index of the longest other prefix that it begins with (its parent). All that a
//! path begins with stand at or before it in that order, and what stands between such a prefix and the path begins with
//! that prefix too; so the last entry that is not behind the path, and its parents, are all the prefixes of that path,
//! longest first. No probe per segment: a path of four thousand segments costs the same.

use std::collections::BTreeMap;

use crate::config::route::PathMatch;

use super::{Asked, Rule, path};

/// A table while it is filled.
#[derive(Default)]
pub(super) struct Draft {
    exact: BTreeMap<Box<[u8]>, Vec<usize>>,
    prefixes: BTreeMap<Box<[u8]>, Vec<usize>>,
}

impl Draft {
    /// Adds a route for `path`: as it is written, and in normal form. Which of the two requests have depends on whether
    /// their paths are normalised.
    pub(super) fn add(&mut self, path: &PathMatch, route: usize) {
        let (entries, path) = match path {
            PathMatch::Exact(path) => (&mut self.exact, path),
            PathMatch::Prefix(path) => (&mut self.prefixes, path),
        };
        let (written, normal) = (path.as_bytes(), path::configured(path));
        if *normal != *written {
            entries.entry(written.into()).or_default().push(route);
        }
        entries.entry(normal).or_default().push(route);
    }

    /// The table.
    pub(super) fn compile(self, rules: &[Rule]) -> Table {
        let entry = |(path, routes)| Entry { path, routes: ranked(routes, rules), parent: None };
        let mut prefixes: Box<[Entry]> = self.prefixes.into_iter().map(entry).collect();
        link(&mut prefixes);
        Table { exact: self.exact.into_iter().map(entry).collect(), prefixes }
    }
}

/// Routes with the same host and path, the most specific first. They come in the order that they are written in, and a
/// stable sort keeps it.
fn ranked(mut routes: Vec<usize>, rules: &[Rule]) -> Box<[usize]> {
    routes.sort_by_key(|&route| rules.get(route).map(Rule::rank));
    routes.into_boxed_slice()
}

/// Tells each prefix, in their order, its parent.
fn link(prefixes: &mut [Entry]) {
    let mut open: Vec<usize> = Vec::new();
    for index in 0..prefixes.len() {
        let begins = |&parent: &usize| {
            let (parent, entry) = (prefixes.get(parent), prefixes.get(index));
            parent.zip(entry).is_some_and(|(parent, entry)| entry.path.starts_with(&parent.path))
        };
        while open.last().is_some_and(|parent| !begins(parent)) {
            open.pop();
        }
        let parent = open.last().copied();
        open.push(index);
        if let Some(entry) = prefixes.get_mut(index) {
            entry.parent = parent;
        }
    }
}

/// The routes of one host.
#[derive(Debug)]
pub(super) struct Table {
    /// Sorted by path.
    exact: Box<[Entry]>,
    /// Sorted by path.
    prefixes: Box<[Entry]>,
}

/// The routes of one path.
#[derive(Debug)]
struct Entry {
    path: Box<[u8]>,
    /// The most specific first.
    routes: Box<[usize]>,
    /// Among prefixes: the longest other one that this one begins with. It stands before this one.
    parent: Option<usize>,
}

impl Table {
    /// The route for `asked`, whose path has no query.
    pub(super) fn find(&self, asked: Asked<'_>, rules: &[Rule]) -> Option<usize> {
        let exact = self.exact.binary_search_by(|entry| (*entry.path).cmp(asked.path)).ok();
        let exact = exact.and_then(|at| self.exact.get(at)).and_then(|entry| entry.find(asked, rules));
        exact.or_else(|| self.find_above(asked, rules))
    }

    /// The route with the longest prefix.
    fn find_above(&self, asked: Asked<'_>, rules: &[Rule]) -> Option<usize> {
        // `*` is the server as a whole: whoever has all of its paths has that too.
        let path: &[u8] = if asked.path.first() == Some(&b'/') { asked.path } else { b"/" };
        let mut next = self.prefixes.partition_point(|entry| *entry.path <= *path).checked_sub(1);
        while let Some(entry) = next.and_then(|at| self.prefixes.get(at)) {
            if covers(&entry.path, path)
                && let Some(route) = entry.find(asked, rules)
            {
                return Some(route);
            }
            next = entry.parent; // further to the front each time
        }
        None
    }
}

impl Entry {
    fn find(&self, asked: Asked<'_>, rules: &[Rule]) -> Option<usize> {
        self.routes.iter().copied().find(|&route| rules.get(route).is_some_and(|rule| rule.takes(asked)))
    }
}

/// Whether `path` is `prefix`, or below it: a prefix ends where a segment does.
pub(super) fn covers(prefix: &[u8], path: &[u8]) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => matches!(rest.first(), None | Some(b'/')) || prefix.ends_with(b"/"),
        None => false,
    }
}

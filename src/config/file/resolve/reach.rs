//! Routes that no request can reach, because routes above have them all.

use std::collections::HashMap;

use super::Fault;
use crate::config::file::document;
use crate::config::file::scalar::Table;
use crate::config::route::{Host, Matches, PathMatch, Route};

/// Routes as they stand in the file, each below those that came before it.
#[derive(Default)]
pub struct Reached {
    routes: Vec<Route>,
    /// Indices of those for one place: ten thousand routes are not compared each with each.
    by_place: HashMap<Place, Vec<usize>>,
}

/// A host, or every host, and a path.
type Place = (Option<Host>, PathMatch);

impl Reached {
    /// Puts `route` below the others, if they leave requests for it.
    ///
    /// # Errors
    /// They leave none.
    pub fn add(&mut self, route: Route, written: &Table<document::Route>) -> Result<(), Fault> {
        let places = places(&route.matches);
        let takers: Vec<&Route> =
            places.iter().map_while(|place| self.taker(place, &route.matches)).collect();
        if let Some(first) = takers.first()
            && takers.len() == places.len()
        {
            return Err(unreachable(first, written));
        }
        for place in places {
            self.by_place.entry(place).or_default().push(self.routes.len());
        }
        self.routes.push(route);
        Ok(())
    }

    /// The first route that has every request for `place` that `below` matches.
    fn taker(&self, place: &Place, below: &Matches) -> Option<&Route> {
        let mut there = self.by_place.get(place)?.iter().filter_map(|&index| self.routes.get(index));
        there.find(|above| takes(&above.matches, below))
    }

    /// All of them.
    pub fn into_routes(self) -> Vec<Route> {
        self.routes
    }
}

fn places(matches: &Matches) -> Vec<Place> {
    let hosts: Vec<Option<Host>> = match &*matches.hosts {
        [] => vec![None],
        hosts => hosts.iter().cloned().map(Some).collect(),
    };
    hosts.into_iter().map(|host| (host, matches.path.clone())).collect()
}

/// Whether every request for their common place that `below` matches is one that `above` matches, equally specific in
/// everything: then the route that is written first has it.
fn takes(above: &Matches, below: &Matches) -> bool {
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
    methods && fields
}

fn unreachable(first: &Route, written: &Table<document::Route>) -> Fault {
    let text = format!("no request reaches this route: `{}` above has them all", first.name);
    Fault::at(&written.span, text)
        .help("drop one of them, or give this one another host, path, method or header")
}

//! What becomes of a request whose head is understood: its route, the target it goes on with, and whether its limits let it
//! in.

use crate::config::group::Balance;
use crate::config::route::{Action, PathRewrite};
use crate::config::{Config, Route};
use crate::h1::RequestHead;
use crate::proxy::balance::{hash, sticky};
use crate::proxy::edits;
use crate::proxy::error::Failure;
use crate::proxy::forward::{self, Hop, Source};
use crate::proxy::limit::Admitted;
use crate::proxy::rewrite;
use crate::proxy::routing::{Asked, path};
use crate::time::Timestamp;

use super::client::Client;
use super::transaction::Refusal;

/// What becomes of a request.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Its route, by its place in the configuration.
    pub route: Option<u32>,
    /// It is answered with this, and goes nowhere.
    pub refusal: Option<Refusal>,
    /// The endpoint that its client is at home with, if it says so.
    pub home: Option<u64>,
    /// What its endpoint is chosen by, where that is a hash.
    pub key: Option<u64>,
    /// Its places among those that its route lets in at once.
    pub admitted: Admitted,
}

impl Client {
    /// Chooses, and appends to `out` the head to forward; for a redirect, where it leads.
    ///
    /// # Errors
    /// The target has no normal form.
    pub(super) fn choose(
        &self,
        head: &RequestHead,
        source: Source<'_>,
        hop: Hop<'_>,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<Choice, Failure> {
        let mut normal = Vec::new();
        let target = target(&self.view.config, head, source.bytes, &mut normal)?;
        let authority = head.authority.of(source.bytes);
        let method = head.method_span.of(source.bytes);
        let found = self.view.router.find(Asked { authority, path: target, method, source });
        let found = found.and_then(|index| u32::try_from(index).ok());
        let Some((index, route)) = found.and_then(|index| Some((index, self.view.route(index)?))) else {
            // Nobody forwards it, but the log and the answer are made of a head.
            forward::request(head, source, hop, forward::Route::PLAIN, out);
            let refusal = Some(Refusal { failure: Failure::NoRoute, retry_after: None });
            return Ok(Choice { refusal, ..Choice::default() });
        };
        let mut choice = self.admit(index, source, hop, now);
        if let Action::Forward { group, .. } = route.action
            && let Some(group) = self.view.config.groups.get(group)
        {
            let trusted = &self.view.config.forwarding.trusted_proxies;
            choice.home = group.sticky.as_ref().and_then(|sticky| sticky::wanted(sticky, source));
            choice.key = match &group.balance {
                Balance::Hash(key) => {
                    let client = forward::client_behind(source, hop, trusted).unwrap_or(hop.client);
                    hash::key(key, client, source)
                }
                Balance::LeastRequests | Balance::RoundRobin => None,
            };
        }
        write(route, head, source, hop, target, out)?;
        Ok(choice)
    }

    /// Holds the request against the limits of its route.
    fn admit(&self, route: u32, source: Source<'_>, hop: Hop<'_>, now: Timestamp) -> Choice {
        let choice = Choice { route: Some(route), ..Choice::default() };
        let Some(limits) = self.view.limits.get(route as usize).filter(|limits| !limits.is_empty()) else {
            return choice;
        };
        let told = forward::client_behind(source, hop, &self.view.config.forwarding.trusted_proxies);
        match limits.admit(told.unwrap_or(hop.client), source, now) {
            Ok(admitted) => Choice { admitted, ..choice },
            Err(refused) => {
                let retry_after = Some(refused.retry_after_s());
                Choice { refusal: Some(Refusal { failure: refused.failure, retry_after }), ..choice }
            }
        }
    }
}

/// The target that routes are asked about, and that is forwarded unless one rewrites it.
fn target<'a>(
    config: &Config,
    head: &RequestHead,
    bytes: &'a [u8],
    normal: &'a mut Vec<u8>,
) -> Result<&'a [u8], Failure> {
    if config.normalize_paths {
        return path::target(head, bytes, normal).map_err(|_| Failure::BadPath);
    }
    match (head.path.of(bytes), head.path_prefix(bytes)) {
        (path, b"") => Ok(path),
        ([], whole) => Ok(whole),
        (query, prefix) => {
            normal.extend_from_slice(prefix);
            normal.extend_from_slice(query);
            Ok(normal)
        }
    }
}

/// Appends what `route` makes of the request.
fn write(
    route: &Route,
    head: &RequestHead,
    source: Source<'_>,
    hop: Hop<'_>,
    target: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut rewritten = Vec::new();
    let edits = &route.request_fields;
    match &route.action {
        Action::Forward { rewrite: PathRewrite::Keep, .. } => {
            forward::request(head, source, hop, forward::Route { target: Some(target), edits }, out);
        }
        Action::Forward { rewrite, .. } => {
            rewrite::target(rewrite, &route.matches.path, target, &mut rewritten);
            forward::request(head, source, hop, forward::Route { target: Some(&rewritten), edits }, out);
        }
        Action::Redirect { location, .. } => {
            let authority = head.authority.of(source.bytes);
            let request = rewrite::Request { scheme: hop.scheme, authority, target };
            rewrite::location(location, &route.matches.path, request, out)?;
        }
        Action::Respond { .. } => {
            let route = forward::Route { target: Some(target), edits: &edits::NONE };
            forward::request(head, source, hop, route, out);
        }
    }
    Ok(())
}

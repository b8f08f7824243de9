//! Endpoints as the admin listener shows and orders them.

use crate::config::Group;
use crate::net::shared::Shared;
use crate::proxy::endpoint::Endpoint;
use crate::telemetry::series::EndpointFigures;

/// An endpoint at one moment. TO BE COMPLETED when endpoints have a state of their own (`proxy::health`): its availability in
/// place of `up`, and the requests that are with it.
fn endpoint_status(group: &Group, endpoint: &Endpoint) -> EndpointFigures {
    EndpointFigures {
        group: group.name.clone(),
        endpoint: endpoint.label.clone(),
        health: "up",
        serves: true,
        active: 0,
    }
}

/// Takes an endpoint out for new requests, or lets it serve again; false where that cannot be done. TO BE COMPLETED with
/// [`endpoint_status`].
fn drain_endpoint(_endpoint: &Endpoint, _drained: bool) -> bool {
    false
}

/// Every endpoint of every group.
pub fn all(shared: &Shared) -> Vec<EndpointFigures> {
    let site = shared.site.load();
    let groups = site.config.groups.iter().zip(&site.endpoints);
    groups.flat_map(|(group, endpoints)| endpoints.0.iter().map(|it| endpoint_status(group, it))).collect()
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It is done.
    Done,
    /// There is no such group, or no such endpoint in it.
    Unknown,
    /// Endpoints cannot be drained.
    Unable,
}

/// Drains the endpoint `label` of the group `name`, or lets it serve again. A name may stand for several endpoints with the same
/// label: all of them.
pub fn order(shared: &Shared, name: &str, label: &str, drained: bool) -> Ordered {
    let site = shared.site.load();
    let groups = site.config.groups.iter().zip(&site.endpoints).filter(|(group, _)| *group.name == *name);
    let named = groups.flat_map(|(_, endpoints)| endpoints.0.iter().filter(|it| *it.label == *label));
    let outcomes: Vec<bool> = named.map(|endpoint| drain_endpoint(endpoint, drained)).collect();
    if outcomes.is_empty() {
        Ordered::Unknown
    } else if outcomes.iter().all(|done| *done) {
        Ordered::Done
    } else {
        Ordered::Unable
    }
}

//! Endpoints as the admin listener shows and orders them.

use crate::net::shared::Shared;
use crate::proxy::balance::Member;
use crate::proxy::endpoint::{Endpoint, Endpoints};
use crate::proxy::health::Availability;
use crate::telemetry::series::EndpointFigures;
use crate::time::Timestamp;

/// An endpoint at one moment.
fn endpoint_status(group: &str, endpoint: &Endpoint, member: &Member, now: Timestamp) -> EndpointFigures {
    let availability = member.state.availability(now);
    EndpointFigures {
        group: group.into(),
        endpoint: endpoint.label.clone(),
        health: availability.name(),
        serves: availability == Availability::Up,
        active: u64::from(member.state.active()),
    }
}

/// Endpoints with what is known of them.
fn members(endpoints: &Endpoints) -> impl Iterator<Item = (&Endpoint, &Member)> {
    endpoints.list.iter().zip(&endpoints.members)
}

/// Every endpoint of every group.
pub fn all(shared: &Shared) -> Vec<EndpointFigures> {
    let (site, now) = (shared.site.load(), now(shared));
    let groups = site.config.groups.iter().zip(&site.endpoints);
    groups
        .flat_map(|(group, endpoints)| {
            members(endpoints).map(|(endpoint, member)| endpoint_status(&group.name, endpoint, member, now))
        })
        .collect()
}

/// Now, by the clock of the workers.
fn now(shared: &Shared) -> Timestamp {
    Timestamp(u64::try_from(shared.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It is done.
    Done,
    /// There is no such group, or no such endpoint in it.
    Unknown,
}

/// Drains the endpoint `label` of the group `name`, or lets it serve again. A name may stand for several endpoints with the same
/// label: all of them.
pub fn order(shared: &Shared, name: &str, label: &str, drained: bool) -> Ordered {
    let (site, now) = (shared.site.load(), now(shared));
    let groups = site.config.groups.iter().zip(&site.endpoints).filter(|(group, _)| *group.name == *name);
    let all = groups.flat_map(|(_, endpoints)| members(endpoints));
    let mut ordered = Ordered::Unknown;
    for (_, member) in all.filter(|(endpoint, _)| *endpoint.label == *label) {
        ordered = Ordered::Done;
        if let Some(change) = member.state.drain(drained, now) {
            tracing::info!(group = name, endpoint = label, %change, "ordered by an operator");
        }
    }
    ordered
}

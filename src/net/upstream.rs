//! Connections to endpoints, in use.

use std::rc::Rc;

use crate::proxy::endpoint::Endpoint;
use crate::time::Timestamp;

use super::group::Group;
use super::idle::Idle;
use super::transport::Transport;

/// A connection to an endpoint, in use.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub transport: Transport,
    /// It has served before.
    pub reused: bool,
    /// Where it leads.
    pub place: Place,
    /// When it was made.
    pub(super) born: Timestamp,
}

impl Upstream {
    /// A fresh connection.
    #[must_use]
    pub fn new(transport: Transport, place: Place, now: Timestamp) -> Upstream {
        Upstream { transport, reused: false, place, born: now }
    }

    /// A connection that was idle.
    #[must_use]
    pub fn reused(idle: Idle, place: Place) -> Upstream {
        Upstream { transport: idle.transport, reused: true, place, born: idle.born }
    }
}

/// An endpoint of a group.
#[derive(Clone, Debug)]
pub struct Place {
    /// The group.
    pub group: Rc<Group>,
    /// Index of the endpoint in it.
    pub index: usize,
}

impl Place {
    /// The endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.group.endpoints.list.get(self.index)
    }

    /// Its name for logs.
    #[must_use]
    pub fn label(&self) -> &str {
        self.endpoint().map_or("", |endpoint| &endpoint.label)
    }
}

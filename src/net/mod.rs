//! The data path: the only IO a request meets. Everything here runs on a worker thread.
//!
//! ```text
//!  listener ─▶ client_h1 ─▶ exchange ─▶ acquire (group: pool; h2::link: shared; connect)
//!                 │            │  └────▶ tunnel (after 101)
//!                 └── head     └── relay
//!  site (what is served; a view of it per worker) is beside them
//!  below all of them: worker (what a thread owns), timer, transport (ring polls + direct calls), tls, buffers
//! ```
//! Decisions come from [`crate::proxy`] and [`crate::h1`]; these rooms move bytes and wait.

pub mod accepted;
pub mod acquire;
pub mod buffers;
pub mod caller;
pub mod choose;
pub mod client;
pub mod client_h1;
pub mod client_h2;
pub mod clock;
pub mod connect;
pub mod exchange;
pub mod facts;
pub mod fault;
pub mod group;
pub mod h2;
pub mod heart;
pub mod inbox;
pub mod journal;
pub mod listener;
pub mod log_sink;
pub mod memory;
pub mod queue;
pub mod record;
pub mod relay;
pub mod shared;
pub mod site;
pub mod socket;
pub mod splice;
pub mod steer;
pub mod tally;
pub mod thread;
pub mod timer;
pub mod tls;
pub mod transaction;
pub mod transport;
pub mod tunnel;
pub mod upstream;
pub mod worker;

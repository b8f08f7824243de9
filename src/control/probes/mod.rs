//! Active health checks: a thread that asks every endpoint of a group with a `check` whether it is well.
//!
//! ```text
//!   Site ─ look ─▶ one task per endpoint: pause ─▶ a place ─▶ probe ─▶ EndpointState::probed ─▶ log
//!     ▲             └─ ends when the endpoint, or its check, is gone
//!   reload, names
//! ```
//! It has a runtime like that of a worker, because it uses the same sockets, handshakes and TLS settings as traffic:
//! what a probe meets is what a request would meet. It shares nothing else with workers, so an origin that hangs, or a
//! thousand of them, cost no request anything. Once a second the thread also ends ejections whose time is over, for
//! endpoints that nobody asks for.

mod http2;
mod probe;
mod task;
mod terms;

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use monoio::time::sleep;

use crate::limits;
use crate::net::clock::Clock;
use crate::net::group::tell;
use crate::net::shared::Shared;
use crate::net::site::Site;
use crate::net::thread::runtime;
use crate::proxy::endpoint::Endpoints;

use self::task::{Desk, Running};
use self::terms::Target;

/// The thread that probes; told to stop when dropped. Not joined: it looks up within [`limits::PROBE_LOOK_MS`], and the
/// process is about to end.
#[derive(Debug)]
pub struct Probes {
    _stop: SyncSender<()>,
    _thread: JoinHandle<()>,
}

impl Probes {
    /// Starts the thread. While no group has a check, it looks up now and then and does nothing.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(shared: Arc<Shared>) -> io::Result<Probes> {
        let (stop, stopped) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("probes".into()).spawn(move || keep_on(&shared, &stopped))?;
        Ok(Probes { _stop: stop, _thread: thread })
    }
}

/// Probes until told to stop, and begins anew after an accident: an endpoint that is down would otherwise stay so.
fn keep_on(shared: &Arc<Shared>, stopped: &Receiver<()>) {
    loop {
        let attempt = AssertUnwindSafe(|| runtime().map(|mut it| it.block_on(follow(shared, stopped))));
        match catch_unwind(attempt) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, "health checks: no ring; trying again"),
            Err(_) => tracing::error!("health checks: a panic; beginning anew"),
        }
        let pause = Duration::from_millis(limits::PROBE_RESTART_MS);
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Follows what is served until told to stop.
async fn follow(shared: &Arc<Shared>, stopped: &Receiver<()>) {
    const LOOKS_PER_S: u64 = 1000 / limits::PROBE_LOOK_MS;
    let desk = Rc::new(Desk {
        shared: Arc::clone(shared),
        clock: Clock::new(shared.epoch),
        under_way: Rc::new(Cell::new(0)),
        quiet_until: Cell::default(),
    });
    let mut seen: Option<Arc<Site>> = None;
    let mut running: Vec<Running> = Vec::new();
    for look in 0_u64.. {
        let site = shared.site.load_full();
        if seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &site)) {
            running = take_up(&site, running, &desk);
            seen = Some(Arc::clone(&site));
        }
        let idle = running.is_empty();
        if idle || look.is_multiple_of(LOOKS_PER_S) {
            settle(&site, &desk);
        }
        drop(site);
        sleep(Duration::from_millis(if idle { limits::PROBE_IDLE_LOOK_MS } else { limits::PROBE_LOOK_MS }))
            .await;
        if stopped.try_recv() != Err(TryRecvError::Empty) {
            return;
        }
    }
}

/// Begins to probe what is new in `site`, goes on with what stays, and ends the rest. Where nothing is probed any more,
/// what probes found is forgotten, whoever found it: an endpoint may have been away when its check went.
fn take_up(site: &Site, mut running: Vec<Running>, desk: &Rc<Desk>) -> Vec<Running> {
    let mut next = Vec::new();
    for target in targets(site) {
        let known = running.iter().position(|it| *it.target == target);
        next.push(known.map_or_else(|| Running::start(target, desk), |index| running.swap_remove(index)));
    }
    drop(running);
    for (_, endpoints) in groups(site).filter(|(group, _)| group.check.is_none()) {
        endpoints.members.iter().for_each(|member| member.state.unprobed(desk.clock.refresh()));
    }
    next
}

/// Everything that is to be probed.
fn targets(site: &Site) -> impl Iterator<Item = Target> {
    groups(site).filter_map(|(group, endpoints)| Some((group, group.check.as_ref()?, endpoints))).flat_map(
        |(group, check, endpoints)| {
            endpoints.list.iter().zip(&endpoints.members).map(|(endpoint, member)| Target {
                group: group.name.clone(),
                endpoint: endpoint.clone(),
                check: check.clone(),
                send_proxy: group.send_proxy,
                state: Arc::clone(&member.state),
            })
        },
    )
}

/// Ends ejections whose time is over.
fn settle(site: &Site, desk: &Desk) {
    let now = desk.clock.refresh();
    for (group, endpoints) in groups(site) {
        for (endpoint, member) in endpoints.list.iter().zip(&endpoints.members) {
            if let Some(change) = member.state.settle(now) {
                tell(&group.name, &endpoint.label, change, None);
            }
        }
    }
}

fn groups(site: &Site) -> impl Iterator<Item = (&crate::config::Group, &Arc<Endpoints>)> {
    site.config.groups.iter().zip(&site.endpoints)
}

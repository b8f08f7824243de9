//! Pingora as a plain reverse proxy, for the comparison bench: one worker thread, no TLS, no access log, no modules.
//!
//! ```text
//! pingora LISTEN ORIGIN TIMEOUT_SECONDS
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use async_trait::async_trait;
use pingora::modules::http::HttpModules;
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Server, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

/// What every peer's connect timeout is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections, on either side.
const IDLE_SECONDS: u64 = 75;
/// Idle connections to the origin: more than any scenario has requests at once. The default is 128.
const POOL_SIZE: usize = 1024;

struct Relay {
    origin: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Relay {
    type CTX = ();

    fn new_ctx(&self) {}

    /// The default adds a compression module, switched off. Without it there is less to do per chunk.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        session.set_keepalive(Some(IDLE_SECONDS));
        Ok(false)
    }

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(self.origin.clone()))
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, origin, timeout] = args.as_slice() else { return usage() };
    let (Ok(origin), Ok(timeout)) = (origin.parse(), timeout.parse()) else { return usage() };
    serve(listen, peer(origin, Duration::from_secs(timeout)))
}

fn usage() -> ExitCode {
    eprintln!("usage: pingora LISTEN ORIGIN TIMEOUT_SECONDS");
    ExitCode::from(2)
}

fn peer(origin: SocketAddr, timeout: Duration) -> HttpPeer {
    let mut peer = HttpPeer::new(origin, false, String::new());
    peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
    peer.options.idle_timeout = Some(Duration::from_secs(IDLE_SECONDS));
    // Silence between two reads, also of a response head.
    peer.options.read_timeout = Some(timeout);
    peer
}

fn serve(listen: &str, origin: HttpPeer) -> ! {
    let conf = ServerConf {
        threads: 1,
        // With one thread there is nobody to steal from; a runtime of one thread is the faster one.
        work_stealing: false,
        upstream_keepalive_pool_size: POOL_SIZE,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Relay { origin });
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever()
}

//! Why the server could not start, and what the operator can do about it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustix::io::Errno;

use super::certificates::CertificateError;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}: {error}{}", bind_advice(.address, .error))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel gives us no ring.
    #[error("cannot set up io_uring: {error}{}", ring_advice(.error))]
    Ring {
        /// What the kernel said.
        error: io::Error,
    },
    /// The descriptor limit leaves no room for a single client.
    #[error(
        "the limit of open files is {limit}, which leaves no room for clients; at least {needed} are needed. \
         Raise it (`ulimit -n {needed}`, or LimitNOFILE= in the unit file)"
    )]
    Descriptors {
        /// The limit as it is.
        limit: u64,
        /// What would do.
        needed: u64,
    },
    /// A certificate or key is of no use.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The access log could not be opened.
    #[error(
        "{0}. Its directory must exist and be writable for this user, and a FIFO needs a reader; or choose another \
         --access-log"
    )]
    AccessLog(io::Error),
    /// The pid file could not be written.
    #[error("cannot write --pid-file {}: {error}. Its directory must exist and be writable for this user", file.display())]
    PidFile {
        /// Where it was to be.
        file: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The process before us did not hand over as it should.
    #[error("cannot take over from the running process: {0}")]
    Handover(io::Error),
    /// The demo's origin could not start.
    #[error("cannot start the demo origin: {0}")]
    Demo(io::Error),
    /// A thread or a signal handler could not be set up.
    #[error("cannot start {what}: {error}")]
    System {
        /// What was being started.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// A worker ended while the server was running.
    #[error(
        "worker {index} died ({reason}); stopping, because its share of the clients would be left unserved"
    )]
    WorkerDied {
        /// Number of the worker.
        index: usize,
        /// Its error or panic.
        reason: String,
    },
}

fn bind_advice(address: &SocketAddr, error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => format!(
            ". Another program (or another ringress) has it: `ss -ltnp 'sport = :{}'` names it",
            address.port()
        ),
        Some(Errno::ACCESS) => {
            ". Ports below 1024 need the capability CAP_NET_BIND_SERVICE (or sysctl net.ipv4.ip_unprivileged_port_start)".into()
        }
        Some(Errno::ADDRNOTAVAIL) => ". This host has no such address: `ip address` lists those it has".into(),
        Some(Errno::AFNOSUPPORT) => ". This host has no IPv6; listen on an IPv4 address".into(),
        _ => String::new(),
    }
}

fn ring_advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            ". It is disabled for this user: `sysctl kernel.io_uring_disabled` must be 0 (or 1 with the group of \
             kernel.io_uring_group); in a container, its seccomp profile must allow io_uring_setup"
        }
        Some(Errno::NOSYS) => ". This kernel has none: Linux 5.11 or newer is needed",
        Some(Errno::NOMEM) => {
            ". The limit of locked memory is too low for this kernel: raise it (`ulimit -l`, or LimitMEMLOCK=)"
        }
        Some(Errno::MFILE | Errno::NFILE) => ". The limit of open files is too low: raise it (`ulimit -n`)",
        _ => "",
    }
}

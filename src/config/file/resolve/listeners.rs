//! Listeners, and TLS on both sides.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};

use super::{Fault, Span, list, or};
use crate::config::file::document::{self, Document};
use crate::config::file::kinds::Requirement;
use crate::config::file::scalar::{Table, Value};
use crate::config::value::listen::Listen;
use crate::config::{ClientAuth, KeyPair, Listener, Service, Tls, UpstreamTls};

/// Where clients are accepted when nothing says so.
const DEFAULT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 8080);

/// What the tables of listeners amount to.
pub struct Listeners {
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// Certificates and what clients show.
    pub tls: Tls,
    /// Addresses of metrics and probes.
    pub admin: Vec<SocketAddr>,
    /// Every address of a listener.
    pub addresses: Vec<SocketAddr>,
}

/// # Errors
/// An address twice, or TLS on one side only.
pub fn resolve(document: &Document) -> Result<Listeners, Fault> {
    let mut listeners = Vec::new();
    for written in document.listener.iter().flatten() {
        listeners.extend(listener(written)?);
    }
    if listeners.is_empty() {
        let address = DEFAULT.into();
        listeners.push(Listener { address, service: Service::Plain, accept_proxy: Vec::new() });
    }
    check_addresses(document)?;
    let tls = tls(&document.tls);
    check_tls(document, &listeners, &tls)?;
    let admin = list(&document.server.admin).into_iter().flat_map(|Listen(addresses)| addresses).collect();
    let addresses = listeners.iter().map(|listener| listener.address).collect();
    Ok(Listeners { listeners, tls, admin, addresses })
}

/// The listeners that one table stands for.
fn listener(written: &Table<document::Listener>) -> Result<Vec<Listener>, Fault> {
    let table = &written.it;
    let service = match (or(&table.tls, false), or(&table.redirect, false)) {
        (true, true) => {
            let span = table.redirect.as_ref().map_or(&None, |redirect| &redirect.span);
            return Err(Fault::at(span, "a listener either speaks TLS or sends clients to one that does")
                .help("drop `tls` or `redirect`, or make two listeners of it"));
        }
        (true, false) => Service::Tls,
        (false, true) => Service::Redirect,
        (false, false) => Service::Plain,
    };
    let accept_proxy = list(&table.accept_proxy);
    let one =
        |address: &SocketAddr| Listener { address: *address, service, accept_proxy: accept_proxy.clone() };
    Ok(table.address.it.0.iter().map(one).collect())
}

/// No address twice; port 0 is a new port each time.
fn check_addresses(document: &Document) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    let listeners = document.listener.iter().flatten().map(|listener| &listener.it.address);
    for Value { it, span } in listeners.chain(document.server.admin.iter().flatten()) {
        if let Some(address) = it.0.iter().find(|address| address.port() != 0 && !seen.insert(**address)) {
            return Err(Fault::at(span, format!("{address} is listened on twice"))
                .help("drop one of them (`:PORT` stands for 0.0.0.0:PORT and [::]:PORT)"));
        }
    }
    Ok(())
}

fn tls(written: &document::Tls) -> Tls {
    let pair = |it: &Table<document::Certificate>| KeyPair {
        cert: it.it.cert.it.clone(),
        key: it.it.key.it.clone(),
    };
    let ca = written.client_ca.as_ref().map(|ca| ca.it.clone());
    let client_auth = match (ca, or(&written.client_auth, Requirement::Required)) {
        (None, _) => ClientAuth::Off,
        (Some(ca), Requirement::Required) => ClientAuth::Required(ca),
        (Some(ca), Requirement::Optional) => ClientAuth::Optional(ca),
    };
    Tls { pairs: written.certificate.iter().flatten().map(pair).collect(), client_auth }
}

/// The place of the first table that asks for `service`.
fn place_of(document: &Document, service: Service) -> Option<Span> {
    let asks = |listener: &&Table<document::Listener>| match service {
        Service::Tls => or(&listener.it.tls, false),
        Service::Redirect => or(&listener.it.redirect, false),
        Service::Plain => false,
    };
    document.listener.iter().flatten().find(asks).map(|listener| listener.it.address.span.clone())
}

fn check_tls(document: &Document, listeners: &[Listener], tls: &Tls) -> Result<(), Fault> {
    const WRITE: &str = "write `[[listener]]` with address = \":443\" and tls = true";
    let written = &document.tls;
    let secure = listeners.iter().any(|listener| listener.service == Service::Tls);
    if let (Some(span), true) = (place_of(document, Service::Tls), tls.pairs.is_empty()) {
        return Err(Fault::at(&span, "a listener with TLS needs a certificate")
            .help("write `[[tls.certificate]]` with cert = \"chain.pem\" and key = \"key.pem\""));
    }
    if let (Some(span), false) = (place_of(document, Service::Redirect), secure) {
        return Err(Fault::at(&span, "there is no listener with TLS to redirect to").help(WRITE));
    }
    if let (Some(requirement), None) = (&written.client_auth, &written.client_ca) {
        return Err(Fault::at(&requirement.span, "`client-auth` is of no use without `client-ca`")
            .help("write client-ca = \"authorities.pem\", or drop `client-auth`"));
    }
    let certificate = written.certificate.iter().flatten().next().map(|it| &it.it.cert.span);
    let of_no_use = certificate.or(written.client_ca.as_ref().map(|ca| &ca.span));
    match (of_no_use, secure) {
        (Some(span), false) => {
            Err(Fault::at(span, "this is of no use without a listener with TLS").help(WRITE))
        }
        (_, _) => Ok(()),
    }
}

/// TLS towards origins.
///
/// # Errors
/// A certificate without its key, or the other way round.
pub fn upstream_tls(written: &document::UpstreamTls) -> Result<UpstreamTls, Fault> {
    let identity = match (&written.cert, &written.key) {
        (Some(cert), Some(key)) => Some(KeyPair { cert: cert.it.clone(), key: key.it.clone() }),
        (None, None) => None,
        (Some(alone), None) | (None, Some(alone)) => {
            return Err(Fault::at(&alone.span, "`cert` and `key` go together").help("give both or none"));
        }
    };
    Ok(UpstreamTls { ca: written.ca.as_ref().map(|ca| ca.it.clone()), identity })
}

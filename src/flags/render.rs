//! A [`Config`] back to flags: the output of `ringress check`.

use std::fmt::{self, Display, Write};

use super::duration::{Period, Timeout};
use super::network::SendProxy;
use super::number::{Auto, switch_word};
use super::size::{Bytes, BytesLimit};
use super::tls::requirement_word;
use crate::config::{Config, Service};

/// The settings of `config`, one `--flag=value` a line, in the order of `--help`. Each line is one argument:
/// given back to `ringress`, they make the same configuration. A list that is empty has no line.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_settings(&mut text, config);
    text
}

fn write_settings(out: &mut String, config: &Config) -> fmt::Result {
    list(out, "listen", config.addresses(Service::Plain))?;
    list(out, "upstream", config.upstreams())?;
    line(out, "http2", switch_word(config.http2))?;
    line(out, "demo", switch_word(config.demo))?;
    write_tls(out, config)?;
    line(out, "workers", Auto(config.workers))?;
    line(out, "pin", switch_word(config.pin))?;
    line(out, "max-connections", Auto(config.max_connections))?;
    line(out, "splice-min", BytesLimit(config.splice_min))?;
    write_timeouts(out, config)?;
    write_limits(out, config)?;
    list(out, "trusted-proxies", &config.forwarding.trusted_proxies)?;
    line(out, "forwarded", switch_word(config.forwarding.forwarded))?;
    let accept_proxy = config.listeners.first().map(|listener| listener.accept_proxy.as_slice());
    list(out, "accept-proxy", accept_proxy.unwrap_or_default())?;
    line(out, "send-proxy", SendProxy(config.groups.first().and_then(|group| group.send_proxy)).name())?;
    line(out, "upstream-idle-max", config.pool.idle_max)?;
    line(out, "upstream-idle-timeout", Period(config.pool.idle_timeout))?;
    line(out, "upstream-age-max", Period(config.pool.age_max))?;
    line(out, "upstream-ping", Period(config.pool.ping))?;
    line(out, "dns-refresh", Period(config.dns_refresh))?;
    line(out, "access-log", &config.access_log)?;
    line(out, "log-format", config.log_format.name())?;
    line(out, "log-query", switch_word(config.log_query))?;
    line(out, "log-level", &config.log_level)?;
    list(out, "admin", &config.admin)?;
    list(out, "pid-file", config.pid_file.as_ref().map(|file| file.display()))
}

fn write_tls(out: &mut String, config: &Config) -> fmt::Result {
    let (tls, upstream) = (&config.tls, &config.upstream_tls);
    list(out, "tls-listen", config.addresses(Service::Tls))?;
    list(out, "cert", tls.pairs.iter().map(|pair| pair.cert.display()))?;
    list(out, "key", tls.pairs.iter().map(|pair| pair.key.display()))?;
    list(out, "client-ca", tls.client_auth.ca().map(|ca| ca.display()))?;
    line(out, "client-auth", requirement_word(&tls.client_auth))?;
    list(out, "http-redirect", config.addresses(Service::Redirect))?;
    list(out, "upstream-ca", upstream.ca.as_ref().map(|ca| ca.display()))?;
    list(out, "upstream-cert", upstream.identity.as_ref().map(|pair| pair.cert.display()))?;
    list(out, "upstream-key", upstream.identity.as_ref().map(|pair| pair.key.display()))
}

fn write_timeouts(out: &mut String, config: &Config) -> fmt::Result {
    let timeouts = &config.timeouts;
    line(out, "handshake-timeout", Timeout(timeouts.handshake))?;
    line(out, "header-timeout", Timeout(timeouts.header))?;
    line(out, "body-timeout", Timeout(timeouts.body))?;
    line(out, "connect-timeout", Timeout(timeouts.connect))?;
    line(out, "request-timeout", Timeout(timeouts.request))?;
    line(out, "stream-idle-timeout", Timeout(timeouts.stream_idle))?;
    line(out, "write-timeout", Timeout(timeouts.write))?;
    line(out, "tunnel-timeout", Timeout(timeouts.tunnel))?;
    line(out, "request-deadline", Timeout(timeouts.request_deadline))?;
    line(out, "keepalive-timeout", Timeout(timeouts.keepalive))?;
    line(out, "drain-timeout", Timeout(timeouts.drain))?;
    line(out, "timeout-status", config.timeout_status)
}

fn write_limits(out: &mut String, config: &Config) -> fmt::Result {
    let limits = &config.message;
    line(out, "max-head-bytes", Bytes(limits.head_bytes_max as u64))?;
    line(out, "max-fields", limits.fields_max)?;
    line(out, "max-target-bytes", Bytes(limits.target_bytes_max as u64))?;
    line(out, "max-body-bytes", BytesLimit(limits.body_bytes_max))?;
    line(out, "allow-underscores", switch_word(limits.allow_underscores))
}

fn list<T: Display>(out: &mut String, flag: &str, values: impl IntoIterator<Item = T>) -> fmt::Result {
    values.into_iter().try_for_each(|value| line(out, flag, value))
}

fn line(out: &mut String, flag: &str, value: impl Display) -> fmt::Result {
    writeln!(out, "--{flag}={value}")
}

//! The proxy error types of RFC 9209 §2.3, by which failures are counted: a fixed table, so that counting one is a cell.

use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cell::add;

/// Every type of RFC 9209 §2.3, in its order.
pub const ERROR_TYPES: [&str; 32] = [
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
];

/// Whom a word that is no type of the RFC is counted as: it is a bug of ours.
const UNKNOWN: &str = "proxy_internal_error";

/// Counts by error type, in the order of [`ERROR_TYPES`].
pub type ErrorCounts = [u64; ERROR_TYPES.len()];

/// Failures by type. One writer.
#[derive(Debug)]
pub struct Errors([AtomicU64; ERROR_TYPES.len()]);

impl Errors {
    /// All zero.
    #[must_use]
    pub const fn new() -> Errors {
        Errors([const { AtomicU64::new(0) }; ERROR_TYPES.len()])
    }

    /// Counts a failure of type `word`. The search is for failures only.
    pub fn count(&self, word: &str) {
        let place = |wanted: &str| ERROR_TYPES.iter().position(|known| *known == wanted);
        if let Some(cell) = place(word).or_else(|| place(UNKNOWN)).and_then(|index| self.0.get(index)) {
            add(cell, 1);
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn read(&self) -> ErrorCounts {
        from_fn(|index| self.0.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed)))
    }
}

impl Default for Errors {
    fn default() -> Errors {
        Errors::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each type has its own cell, and no failure is lost. Method: every word, and one that is none.
    #[test]
    fn each_type_is_counted_and_no_failure_is_lost() {
        let errors = Errors::default();
        ERROR_TYPES.iter().for_each(|word| errors.count(word));
        assert_eq!(errors.read(), [1; ERROR_TYPES.len()]);
        errors.count("no_such_type");
        assert_eq!(errors.read().iter().sum::<u64>(), 33);
        assert_eq!(errors.read()[ERROR_TYPES.iter().position(|word| *word == UNKNOWN).unwrap()], 2);
    }
}

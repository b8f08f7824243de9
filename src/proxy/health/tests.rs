//! Tests of what is known of an endpoint.

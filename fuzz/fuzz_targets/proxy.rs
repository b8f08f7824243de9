//! libFuzzer over `ringress::proxy::proxy_protocol::fuzz`, which says what is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringress::proxy::proxy_protocol::fuzz(data));

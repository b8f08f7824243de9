//! libFuzzer over `ringress::proxy::routing::path::fuzz`, which says what is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringress::proxy::routing::path::fuzz(data));

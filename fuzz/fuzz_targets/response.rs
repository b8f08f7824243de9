//! libFuzzer over `ringress::h1::fuzz::fuzz_response`, which says what is checked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringress::h1::fuzz::fuzz_response(data));

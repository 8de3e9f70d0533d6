//! A whole delta file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_delta::fuzz::file(bytes);
});

//! A delta file's footer and pages, past the checksums.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_delta::fuzz::parts(bytes);
});

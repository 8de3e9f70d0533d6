//! L2 tables.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_qcow2::fuzz::entries(bytes);
});

//! The first bytes of a qcow2 image.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_qcow2::fuzz::header(bytes);
});

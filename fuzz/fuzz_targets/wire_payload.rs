//! One payload of any frame type, past the checksums.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_wire::fuzz::payload(bytes);
});

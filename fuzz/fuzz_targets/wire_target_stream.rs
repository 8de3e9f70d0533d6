//! A stream of frames as a source reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_wire::fuzz::target_stream(bytes);
});

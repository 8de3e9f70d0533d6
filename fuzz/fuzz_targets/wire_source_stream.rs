//! A stream of frames as a target reads it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_wire::fuzz::source_stream(bytes);
});

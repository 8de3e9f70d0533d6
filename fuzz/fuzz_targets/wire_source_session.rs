//! The source's session machine against any target and owner.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_wire::fuzz::source_session(bytes);
});

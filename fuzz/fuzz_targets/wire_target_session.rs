//! The target's session machine against any source and owner.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_wire::fuzz::target_session(bytes);
});

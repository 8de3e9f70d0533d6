//! A machine's definition, read and changed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_hypervisor::fuzz::definition(bytes);
});

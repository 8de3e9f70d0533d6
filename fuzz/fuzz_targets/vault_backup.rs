//! A backup of the vault's store.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_store::fuzz::backup(bytes);
});

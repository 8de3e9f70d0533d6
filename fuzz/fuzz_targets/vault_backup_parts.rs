//! A backup's pieces, past the checksum.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_store::fuzz::backup_parts(bytes);
});

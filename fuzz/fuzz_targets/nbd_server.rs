//! All that an NBD server says.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_nbd::fuzz::server(bytes);
});

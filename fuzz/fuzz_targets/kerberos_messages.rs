//! What a peer sends before Kerberos has proved who it is.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_kerberos::fuzz::messages(bytes);
});

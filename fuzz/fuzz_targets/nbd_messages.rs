//! Single NBD messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = farshore_nbd::fuzz::messages(bytes);
});

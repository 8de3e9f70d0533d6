//! A request on the agent's socket.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<farshore_agent::control::Request>(bytes).is_ok();
});

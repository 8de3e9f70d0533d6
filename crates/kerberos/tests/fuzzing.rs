//! A bounded, seeded run of the fuzz target over damaged messages and over nonsense.

#![allow(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]

use farshore_kerberos::{Message, fuzz};
use farshore_sim::mutate;

#[test]
fn whatever_a_peer_sends_before_it_is_known_is_read_or_refused() {
    let token = Message::Token((0..=255).collect());
    let binding = Message::Binding(vec![7; 60]);
    let refusal = Message::Refusal { what: "no ticket é".to_owned(), advice: "run kinit".to_owned() };
    let each: Vec<Vec<u8>> = [token, binding, refusal].map(|one| one.encode().unwrap()).into();
    let samples: Vec<Vec<u8>> = each.iter().cloned().chain([each.concat()]).collect();
    assert!(samples.iter().all(|sample| fuzz::messages(sample)), "the samples are whole");
    assert!(mutate::fuzz(&samples, 10_000, fuzz::messages) > 500);
}

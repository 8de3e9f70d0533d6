//! A policy chooses Kerberos: two agents of one realm, with a real key distribution centre.
//! Each test runs twice: outside, where it starts the realm, and inside, where it works.

use farshore_agent::{Config, config::Kerberos};
use farshore_control::{Body, HostDocument, Key, Peer, Wire, report::SourcePhase, request::Action};
use farshore_kdc::{Realm, part, place, principal_of};

use super::world::Pair;

/// Runs a test's work in a realm of its own.
fn in_realm(work: impl Future<Output = ()>) {
    match part() {
        None => Realm::start().run_again(&[]),
        Some(_) => tokio::runtime::Runtime::new().unwrap().block_on(work),
    }
}

fn with_keytab(config: &mut Config) {
    let principal = principal_of(&format!("{}.example", config.name)).parse().unwrap();
    let keytab = place().join("hosts.keytab");
    config.kerberos = Some(Kerberos { principal, keytab, peers: Default::default() });
}

/// What the vault says of the hosts: which principals they have.
fn assign(pair: &Pair, source: Option<&str>, target: Option<&str>) {
    let ends = pair.protection();
    let peer = |end: &farshore_control::Endpoint, principal: Option<&str>| Peer {
        host: end.host,
        name: end.name.clone(),
        address: end.address.clone(),
        principal: principal.map(principal_of),
    };
    let hosts = [(&ends.source, peer(&ends.target, target)), (&ends.target, peer(&ends.source, source))];
    for (host, peer) in hosts {
        let document = HostDocument { name: host.name.clone(), peers: vec![peer], ..HostDocument::default() };
        pair.vault.put(Key::Host(host.host), &[host.host], Body::Host(document));
    }
}

#[test]
fn a_policy_that_chooses_kerberos_is_followed() {
    in_realm(async {
        let pair = Pair::configured(&["vda"], with_keytab).await;
        assign(&pair, Some("source.example"), Some("target.example"));
        pair.enable_with(|protection| protection.settings.wire = Wire::Kerberos);
        let first = pair.newest_above(0).await;
        // Back to certificates and to Kerberos again: no first copy, and nothing is lost.
        pair.change(|protection| protection.settings.wire = Wire::Certificate);
        let second = pair.newest_above(first + 1).await;
        pair.change(|protection| protection.settings.wire = Wire::Kerberos);
        pair.newest_above(second + 1).await;
        assert!(pair.replica_equals_model().await);
        let peer = Peer {
            host: pair.target_id,
            name: pair.target().name,
            address: pair.target().address,
            principal: Some(principal_of("target.example")),
        };
        let id = pair.ask(pair.source_id, None, Action::CheckPeer { peer });
        let answer = pair.vault.ending(id).await;
        assert!(matches!(answer, farshore_control::request::Ending::Done { .. }), "{answer:?}");
        pair.end().await;
    });
}

#[test]
fn a_host_whose_principal_was_not_assigned_waits_and_says_so() {
    in_realm(async {
        let pair = Pair::configured(&["vda"], with_keytab).await;
        // The target knows the source by another principal.
        assign(&pair, Some("stranger.example"), Some("target.example"));
        pair.enable_with(|protection| protection.settings.wire = Wire::Kerberos);
        let phase = failed(&pair, "farshore/source.example@FARSHORE.TEST is not that of a host").await;
        assert!(phase.contains("vault has this principal"), "{phase}");
        assert_eq!(pair.newest().await, 0);
        assign(&pair, Some("source.example"), None);
        failed(&pair, "host 'target.example' has no principal").await;
        assign(&pair, Some("source.example"), Some("target.example"));
        pair.newest_above(0).await;
        pair.end().await;
    });
}

#[test]
fn a_source_that_comes_by_its_certificate_is_refused_where_kerberos_was_chosen() {
    in_realm(async {
        let pair = Pair::configured(&["vda"], with_keytab).await;
        assign(&pair, Some("source.example"), Some("target.example"));
        // A source that does not follow: its document says certificates, the target's Kerberos.
        pair.enable();
        let before = pair.newest_above(0).await;
        pair.change_at_target(|protection| protection.settings.wire = Wire::Kerberos);
        pair.restart_source().await;
        let phase = failed(&pair, "Kerberos must prove host 'source.example' here").await;
        assert!(phase.contains("it came by a certificate"), "{phase}");
        assert!(pair.newest().await >= before);
        pair.end().await;
    });
}

#[test]
fn a_session_by_certificate_that_runs_is_cut_where_the_policy_turns_to_kerberos() {
    in_realm(async {
        let pair = Pair::configured(&["vda"], with_keytab).await;
        assign(&pair, Some("source.example"), Some("target.example"));
        pair.enable();
        pair.newest_above(0).await;
        // The source has not heard of it, and goes on in the session that it has.
        pair.change_at_target(|protection| protection.settings.wire = Wire::Kerberos);
        failed(&pair, "Kerberos must prove host 'source.example' here").await;
        let last = pair.newest().await;
        pair.change(|protection| protection.settings.wire = Wire::Kerberos);
        pair.newest_above(last).await;
        assert!(pair.replica_equals_model().await);
        pair.end().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_kerberos_says_what_to_set() {
    let pair = Pair::new().await;
    pair.enable_with(|protection| protection.settings.wire = Wire::Kerberos);
    failed(&pair, "this host has no principal: set [kerberos] in its configuration").await;
    pair.change(|protection| protection.settings.wire = Wire::Certificate);
    pair.newest_above(0).await;
    pair.end().await;
}

/// Waits until the source fails with a text that has this in it; gives it.
async fn failed(pair: &Pair, text: &str) -> String {
    let is = |phase: &SourcePhase| matches!(phase, SourcePhase::Failed { why } if why.contains(text));
    match pair.source_phase(text, is).await {
        SourcePhase::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

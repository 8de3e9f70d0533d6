//! Sessions by Kerberos, against a real key distribution centre and the system's library.
//! Every test runs twice: outside, where it starts the realm, and inside, where it works.

mod hostile;
mod place;

use std::process::{Command, Stdio};

use farshore_kdc::{KEYLESS, Realm, clock_ahead, part, principal_of};
use farshore_kerberos::KerberosError;
use farshore_link::{LinkError, Proof, SessionOptions};
use farshore_wire::CycleKind;

use crate::world::{EPOCH, MACHINE, Model, greeting};
use place::{Target, gss, kerberos, why};

/// Runs a test's work in a realm of its own.
fn in_realm(work: impl Future<Output = ()>) {
    match part() {
        None => Realm::start().run_again(&[]),
        Some(_) => now(work),
    }
}

fn now(work: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(work);
}

#[test]
fn two_hosts_with_keys_replicate() {
    in_realm(async {
        let target = Target::start().await;
        let mut session = target.connect("source.example").await.unwrap();
        let mut model = Model::default();
        for kind in [CycleKind::Initial, CycleKind::Delta, CycleKind::Resync] {
            model.run(&mut session, kind, 4).await.unwrap();
        }
        let held = target.memory.with(MACHINE, |replica| replica.content.clone());
        assert_eq!(held, model.content);
        assert_eq!(target.memory.callers(), [("source.example".to_owned(), Proof::Kerberos)]);
        session.bye().await.unwrap();
        // The second time the ticket is there already.
        target.connect("source.example").await.unwrap().bye().await.unwrap();
    });
}

#[test]
fn a_principal_that_the_vault_did_not_assign_is_not_let_in() {
    in_realm(async {
        let target = Target::start().await;
        let error = target.connect("stranger.example").await.unwrap_err();
        let (what, advice) = why(&error);
        assert!(what.contains("farshore/stranger.example@FARSHORE.TEST is not that of a host"), "{what}");
        assert!(advice.contains("see that the vault has this principal"), "{advice}");
        assert!(target.memory.callers().is_empty());
    });
}

#[test]
fn a_host_that_is_assigned_no_more_is_cut_off_and_not_let_in_again() {
    in_realm(async {
        let target = Target::start().await;
        let mut session = target.connect("source.example").await.unwrap();
        session.ping().await.unwrap();
        target.assignments.set(Default::default());
        let error = loop {
            match session.ping().await {
                Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("not that of a host"), "{error}");
        assert!(target.connect("source.example").await.is_err());
    });
}

#[test]
fn what_is_missing_is_named() {
    in_realm(async {
        let target = Target::start().await;
        // The keytab has no key of this host.
        let error = target.connect(KEYLESS).await.unwrap_err();
        let (what, advice) = why(&error);
        assert!(what.contains("hosts.keytab has no key of this host's principal farshore/keyless"), "{what}");
        assert!(advice.contains("ktadd"), "{advice}");
        // Nobody has heard of the target.
        let error = target.connect_wanting("farshore/nobody.example@FARSHORE.TEST").await.unwrap_err();
        assert!(
            why(&error).0.contains("knows no principal farshore/nobody.example@FARSHORE.TEST"),
            "{error}"
        );
        // A realm that nobody trusts.
        let error = target.connect_wanting("farshore/target.example@ELSEWHERE.TEST").await.unwrap_err();
        assert!(
            matches!(&error, LinkError::Kerberos { cause: KerberosError::Realm { .. }, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("realm ELSEWHERE.TEST is not known here"), "{error}");
        // Another host answers than the one meant: it has not got the key.
        let error = target.connect_wanting(&principal_of("stranger.example")).await.unwrap_err();
        assert!(why(&error).0.contains("is not the one that the key distribution centre has"), "{error}");
    });
}

#[test]
fn a_missing_keytab_is_named() {
    if part().is_none() {
        let realm = Realm::start();
        std::fs::remove_file(realm.path().join("hosts.keytab")).unwrap();
        return realm.run_again(&[]);
    }
    let error = farshore_kerberos::Mechanism::accept(&gss("target.example")).err().unwrap();
    assert!(matches!(&error, KerberosError::NoKeytab { why, .. } if why.contains("No such file")), "{error}");
}

#[test]
fn a_certificate_is_not_asked_for_and_does_not_help() {
    in_realm(async {
        let target = Target::without_kerberos().await;
        let error = target.connect("source.example").await.unwrap_err();
        assert!(matches!(error, LinkError::NoKerberos { .. }), "{error}");
        assert!(error.to_string().contains("does not take Kerberos") && !error.is_recoverable());
    });
}

#[test]
fn without_the_centre_a_ticket_is_waited_for() {
    if part().is_none() {
        let mut realm = Realm::start();
        realm.stop();
        return realm.run_again(&[]);
    }
    now(async {
        let target = Target::start().await;
        let error = target.connect("source.example").await.unwrap_err();
        assert!(why(&error).0.contains("no key distribution centre answers"), "{error}");
        assert!(error.is_recoverable(), "it may answer later");
    });
}

/// A target whose clock is wrong, and a source; what the source is told.
fn with_a_wrong_clock(seconds: i64, told: &str) {
    match part().as_deref() {
        None => {
            let realm = Realm::start();
            let address = realm.path().join("address");
            let mut target = realm.again("target", &clock_ahead(seconds));
            let mut target = target.stdin(Stdio::piped()).spawn().unwrap();
            while !address.exists() {
                assert!(target.try_wait().unwrap().is_none(), "the target has ended");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            let source = realm.again("source", &[]).status();
            drop(target.stdin.take());
            assert!(target.wait().unwrap().success() && source.unwrap().success());
            realm.check_ran("source");
        }
        Some("target") => now(async {
            let target = Target::start().await;
            target.tell_address();
            // Until the first run closes it.
            tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await.unwrap().unwrap();
        }),
        Some(_) => now(async {
            let error = place::connect_to_told("source.example").await.unwrap_err();
            let (what, advice) = why(&error);
            assert!(what.contains(told), "{what}");
            assert!(advice.contains("clocks"), "{advice}");
        }),
    }
}

#[test]
fn a_target_whose_clock_is_wrong_is_told_of() {
    with_a_wrong_clock(15 * 60, "the clocks of the two hosts and the key distribution centre differ");
}

#[test]
fn a_ticket_that_has_expired_for_the_target_is_told_of() {
    // Tickets here last an hour.
    with_a_wrong_clock(2 * 3600, "the ticket of the peer has expired");
}

#[test]
fn a_ticket_that_is_not_valid_yet_is_a_matter_of_clocks() {
    with_a_wrong_clock(-2 * 3600, "the clocks of the two hosts and the key distribution centre differ");
}

#[test]
fn a_process_that_was_not_started_for_the_keytab_is_told_so() {
    let nowhere = std::path::Path::new("/nowhere/keytab");
    let environment = farshore_kerberos::Environment::new(nowhere, nowhere);
    let principal = principal_of("source.example").parse().unwrap();
    let error = farshore_kerberos::Gss::new(principal, nowhere.to_owned(), &environment).unwrap_err();
    assert!(error.to_string().contains("/nowhere/keytab"), "{error}");
    // And one that was, is not.
    if part().is_none() {
        Realm::start().run_again(&[]);
    } else {
        kerberos("source.example");
    }
}

#[test]
fn the_realms_server_is_gone_with_the_realm() {
    let realm = Realm::start();
    let place = realm.path().to_owned();
    drop(realm);
    let listed = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    assert!(!place.exists() && !String::from_utf8_lossy(&listed.stdout).contains(&*place.to_string_lossy()));
}

/// Greets as any source does.
fn greets() -> (farshore_link::Greeting, SessionOptions) {
    (greeting(EPOCH), SessionOptions::default())
}

//! Letters: one there, one back, over the same trust as sessions, and beside them.

use std::time::Duration;

use farshore_link::{Identity, LinkError, SessionOptions, Timing, TlsDial, ask};
use farshore_pki::Authority;
use farshore_wire::{CycleKind, RefusalCode, limits::LETTER_LEN_MAX};
use tempfile::TempDir;

use crate::world::{Model, Site, a_day, identity};

fn dial(site: &Site, identity: Identity) -> TlsDial {
    TlsDial::new(site.endpoint(), identity, Duration::from_secs(5))
}

fn source(site: &Site) -> (Identity, TempDir) {
    identity(&site.authority, "source.example", a_day())
}

#[tokio::test]
async fn a_letter_is_answered_and_the_answerer_knows_who_wrote_it() {
    let site = Site::start(Timing::default()).await;
    let (source, _dir) = source(&site);
    let dial = dial(&site, source);
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    let answer = ask(&dial, &b"do you run it?"[..]).await.unwrap();
    assert_eq!(answer, &b"source.example wrote: do you run it?"[..]);
    // The session beside it goes on.
    Model::default().run(&mut session, CycleKind::Initial, 2).await.unwrap();
    let refused = ask(&dial, &b"refuse this"[..]).await.unwrap_err();
    assert!(
        matches!(&refused, LinkError::Refused { refusal, .. } if refusal.code == RefusalCode::NotAuthorised),
        "{refused}"
    );
    site.stop().await;
}

#[tokio::test]
async fn nobody_else_is_answered_and_no_letter_is_too_long() {
    let site = Site::start(Timing::default()).await;
    let (stranger, _dir) = identity(&Authority::create("Other CA").unwrap(), "source.example", a_day());
    let untrusted = ask(&dial(&site, stranger), &b"do you run it?"[..]).await.unwrap_err();
    assert!(matches!(untrusted, LinkError::Untrusted { .. }), "{untrusted}");
    let (source, _dir) = source(&site);
    assert!(ask(&dial(&site, source), vec![0; LETTER_LEN_MAX + 1]).await.is_err());
    site.stop().await;
}

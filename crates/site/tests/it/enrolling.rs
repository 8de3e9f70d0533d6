//! Hosts that are let in by a key of the site server.

use std::time::Duration;

use farshore_channel::{Applicant, Keyring, enrol, renew};
use farshore_control::{
    enrolment::Reach,
    sync::{Documents, POLL_PATH, Poll},
};
use farshore_pki::{Identity, KeyRequest, RegistrationKey, Role};

use crate::world::{SITE, World};

const FIVE_DAYS: Duration = Duration::from_secs(5 * 24 * 3600);

async fn key(world: &World) -> RegistrationKey {
    let issuer = Identity { role: Role::Site, id: SITE.0, name: "site.example".to_owned() };
    let fingerprint = world.vault.authority.fingerprint().unwrap();
    world.server().new_host_key(&issuer, world.site_address(), fingerprint, FIVE_DAYS).await.unwrap()
}

fn reach() -> Reach {
    Reach { name: "kvm1.example".to_owned(), ..Reach::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_enrols_once_by_a_key_even_over_a_restart_and_renews() {
    let mut world = World::new().await;
    let key = key(&world).await;
    let request = KeyRequest::generate().unwrap();
    let applicant = Applicant { key: &key, request: &request, reach: reach(), version: "1" };
    // Killed after the key was made: it is durable.
    world.stop_site().await;
    world.start_site().await;
    let (bundle, identity) = enrol(&applicant).await.unwrap();
    assert_eq!((identity.role, identity.name.as_str()), (Role::Host, "kvm1.example"));
    // The answer was lost; the same host asks again, also after a restart, and is the same.
    world.stop_site().await;
    world.start_site().await;
    let (_, again) = enrol(&applicant).await.unwrap();
    assert_eq!(again.id, identity.id);
    let other = KeyRequest::generate().unwrap();
    let thief = Applicant { key: &key, request: &other, reach: reach(), version: "1" };
    let error = enrol(&thief).await.unwrap_err();
    assert_eq!(error.code(), Some("registration-used"), "{error}");
    assert!(world.vault.introduced().iter().all(|host| host.0 == identity.id));

    let dir = world.dir.path().join("host");
    bundle.save(&dir).unwrap();
    let client = world.client(Keyring::load(&dir).unwrap());
    let poll = Poll { cursor: None, term: None, wait_secs: 1 };
    let answer: Documents = client.post(POLL_PATH, &poll, farshore_channel::Call::default()).await.unwrap();
    assert_eq!(answer.term, crate::vault::TERM);
    let asks_for_more = Reach { name: "somebody.else".to_owned(), ..Reach::default() };
    let renewed = renew(&client, asks_for_more).await.unwrap();
    renewed.save(&dir).unwrap();
    let is = Keyring::load(&dir).unwrap().identity();
    assert_eq!(is, identity, "it stays who it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_kept_for_the_host_while_the_vault_is_away() {
    let mut world = World::new().await;
    let key = key(&world).await;
    let request = KeyRequest::generate().unwrap();
    let applicant = Applicant { key: &key, request: &request, reach: reach(), version: "1" };
    world.stop_vault().await;
    let error = enrol(&applicant).await.unwrap_err();
    assert!(error.is_recoverable() && error.code() == Some("unavailable"), "{error}");
    world.start_vault().await;
    assert!(enrol(&applicant).await.is_ok());
}

//! Strangers become members: with the right key, once, at the right place.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use axum::{Router, extract::State, routing::post};
use farshore_channel::{
    Applicant, Call, ChannelError, Client, Enroller, Expected, Json, Keyring, Listener, Peer, Refusal,
    Serving, Signing, admit, enrol, enrolment_router, renew,
};
use farshore_control::{
    TrustDocument,
    enrolment::{Enrolled, Enrolment, RENEW_PATH, Reach, Renewal, Renewed},
};
use farshore_pki::{
    Authority, Bundle, Fingerprint, Identity, KeyRequest, REGISTRATION_LIFETIME, Registration,
    RegistrationError, RegistrationKey, Role,
};
use farshore_types::RegistrationId;
use uuid::Uuid;

use crate::world::{DAY, SITE, World, identity, router, site};

/// An issuer that keeps its records in memory.
struct Issuer {
    authority: Authority,
    records: Mutex<HashMap<RegistrationId, Registration>>,
    asked: Mutex<Vec<Enrolment>>,
}

impl Issuer {
    fn trust(&self) -> TrustDocument {
        let revoked_pem = self.authority.revocation_list(1, &[], SystemTime::now()).unwrap();
        TrustDocument { authority_pem: self.authority.cert_pem().to_owned(), revoked_pem, revoked_number: 1 }
    }
}

#[async_trait]
impl Enroller for Issuer {
    async fn enrol(&self, request: Enrolment, _from: SocketAddr) -> Result<Enrolled, Refusal> {
        self.asked.lock().unwrap().push(request.clone());
        let mut records = self.records.lock().unwrap();
        let record = records.get_mut(&request.registration).ok_or(RegistrationError::Unknown)?;
        let now = SystemTime::now();
        let member = admit(record, &request, Uuid::new_v4(), now)?;
        record.mark_used(member.used.clone());
        let trust = self.trust();
        Ok(Signing { authority: &self.authority, trust: &trust }.enrol(&member, now)?.0)
    }
}

async fn renew_one(
    State(issuer): State<Arc<Issuer>>,
    peer: Peer,
    Json(request): Json<Renewal>,
) -> Result<Json<Renewed>, Refusal> {
    let trust = issuer.trust();
    let signing = Signing { authority: &issuer.authority, trust: &trust };
    Ok(Json(signing.renew(&peer, &request, SystemTime::now())?.0))
}

/// A site server that lets hosts in.
struct Site {
    issuer: Arc<Issuer>,
    serving: Serving,
}

impl Site {
    async fn start() -> Site {
        let world = World::new();
        let keyring = world.keyring(Role::Site, SITE);
        let (records, asked) = (Mutex::default(), Mutex::default());
        let issuer = Arc::new(Issuer { authority: world.authority, records, asked });
        let renewing = Router::new().route(RENEW_PATH, post(renew_one)).with_state(issuer.clone());
        let listener = Listener::bind("127.0.0.1:0", keyring, router().merge(renewing)).await.unwrap();
        let serving = listener.open_to_strangers(enrolment_router(issuer.clone())).serve().unwrap();
        Site { issuer, serving }
    }

    fn address(&self) -> String {
        self.serving.address().to_string()
    }

    fn key(&self, made: SystemTime, valid: Duration) -> RegistrationKey {
        let fingerprint = self.issuer.authority.fingerprint().unwrap();
        let made = made.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let made = u64::try_from(made).unwrap();
        let issuer = identity(Role::Site, SITE);
        let (key, record) =
            Registration::make(Role::Host, &issuer, &self.address(), fingerprint, made, valid);
        self.issuer.records.lock().unwrap().insert(record.id, record);
        // As it is after people have copied it.
        key.reveal().parse().unwrap()
    }

    fn fresh_key(&self) -> RegistrationKey {
        self.key(SystemTime::now(), REGISTRATION_LIFETIME)
    }
}

async fn apply(key: &RegistrationKey, request: &KeyRequest) -> Result<(Bundle, Identity), ChannelError> {
    let reach = Reach {
        name: "alpha.example".to_owned(),
        addresses: vec!["10.1.2.3".to_owned()],
        ..Reach::default()
    };
    enrol(&Applicant { key, request, reach, version: "0.1.0" }).await
}

fn request() -> KeyRequest {
    KeyRequest::generate().unwrap()
}

#[tokio::test]
async fn a_stranger_with_a_key_becomes_a_member() {
    let site_server = Site::start().await;
    let (bundle, member) = apply(&site_server.fresh_key(), &request()).await.unwrap();
    assert_eq!((member.role, member.name.as_str()), (Role::Host, "alpha.example"));
    let dir = tempfile::tempdir().unwrap();
    bundle.save(dir.path()).unwrap();
    let client = Client::new(Keyring::load(dir.path()).unwrap(), &site_server.address(), site());
    assert_eq!(client.get::<Identity>("/whoami", Call::once()).await.unwrap(), member);
    assert_eq!(client.keyring().revoked_number(), 1, "with the trust of today");
}

#[tokio::test]
async fn the_secret_never_goes_to_another_authority() {
    let (site_server, other) = (Site::start().await, Site::start().await);
    let key = RegistrationKey { address: other.address(), ..site_server.fresh_key() };
    let error = apply(&key, &request()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("fingerprint") && text.contains(&key.fingerprint.to_string()), "{text}");
    assert!(text.contains("somebody stands in between"), "{text}");
    let key = RegistrationKey { fingerprint: Fingerprint([0; 32]), ..site_server.fresh_key() };
    assert!(apply(&key, &request()).await.is_err());
    assert!(other.issuer.asked.lock().unwrap().is_empty());
    assert!(site_server.issuer.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_member_of_the_same_authority_is_not_the_issuer() {
    let site_server = Site::start().await;
    let key = site_server.fresh_key();
    for issuer in [(Role::Vault, key.issuer.1), (Role::Site, Uuid::from_u128(77))] {
        let error = apply(&RegistrationKey { issuer, ..key.clone() }, &request()).await.unwrap_err();
        assert!(matches!(error, ChannelError::Untrusted { .. }), "{error}");
    }
    assert!(site_server.issuer.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_used_key_lets_its_own_holder_in_again_and_nobody_else() {
    let site_server = Site::start().await;
    let (key, mine) = (site_server.fresh_key(), request());
    let (_, first) = apply(&key, &mine).await.unwrap();
    let again = KeyRequest::of_key(&mine.key_pem).unwrap();
    assert_eq!(apply(&key, &again).await.unwrap().1, first, "the first answer may have been lost");
    let error = apply(&key, &request()).await.unwrap_err();
    assert_eq!(error.code(), Some("registration-used"), "{error}");
    assert!(error.to_string().contains("used by 'alpha.example'"), "{error}");
    assert!(error.advice().contains("make a new one"), "{}", error.advice());
}

#[tokio::test]
async fn an_expired_an_early_and_an_unknown_key_are_told_apart() {
    let site_server = Site::start().await;
    let code = async |key| apply(&key, &request()).await.unwrap_err().code().unwrap().to_owned();
    let now = SystemTime::now();
    assert_eq!(code(site_server.key(now - 6 * DAY, REGISTRATION_LIFETIME)).await, "registration-expired");
    assert_eq!(code(site_server.key(now + DAY, DAY)).await, "registration-not-yet-valid");
    let key = site_server.fresh_key();
    assert_eq!(code(RegistrationKey { role: Role::Site, ..key.clone() }).await, "registration-role");
    let secret = site_server.fresh_key().secret;
    assert_eq!(code(RegistrationKey { secret, ..key.clone() }).await, "registration-secret");
    site_server.issuer.records.lock().unwrap().clear();
    assert_eq!(code(key).await, "registration-unknown");
}

#[tokio::test]
async fn a_name_that_cannot_be_is_refused_before_anything_is_sent() {
    let site_server = Site::start().await;
    let reach = Reach { name: "10.0.0.1".to_owned(), ..Reach::default() };
    let (key, request) = (site_server.fresh_key(), request());
    let error = enrol(&Applicant { key: &key, request: &request, reach, version: "0" }).await.unwrap_err();
    assert!(matches!(error, ChannelError::Unsendable(_)), "{error}");
    assert!(site_server.issuer.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_member_renews_with_a_new_key_and_stays_who_it_is() {
    let site_server = Site::start().await;
    let (bundle, member) = apply(&site_server.fresh_key(), &request()).await.unwrap();
    let keyring = Keyring::new(bundle.check(SystemTime::now()).unwrap()).unwrap();
    let expected = Expected { role: Role::Site, id: None };
    let client = Client::new(keyring.clone(), &site_server.address(), expected);
    let reach = Reach { name: "vault.example".to_owned(), ..Reach::default() };
    let renewed = renew(&client, reach).await.unwrap();
    assert_ne!(renewed.key_pem, bundle.key_pem);
    keyring.replace(renewed.check(SystemTime::now()).unwrap()).unwrap();
    assert_eq!(keyring.identity(), member, "whatever name it asks for");
    assert_eq!(client.get::<Identity>("/whoami", Call::once()).await.unwrap(), member);
}

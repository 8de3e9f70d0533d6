//! How a stranger becomes a member, and a member renews: the applicant's side here, the
//! issuer's in `issue`. The stranger verifies the issuer by the fingerprint of its
//! authority, which the registration key carries, before it sends the key's secret.

mod issue;

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use axum::{Extension, Router, extract::State, routing::post};
use farshore_control::enrolment::{
    Applying, ENROL_PATH, Enrolled, Enrolment, RENEW_PATH, Reach, Renewal, Renewed,
};
use farshore_pki::{Bundle, Identity, KeyRequest, PkiError, RegistrationKey, Role, Trust};

use crate::{
    Call, ChannelError, Client, Expected, Json, Refusal, client::call_as_stranger, limits::SKEW_MAX, tls,
};

pub use issue::{Member, Signing, admit};

/// Who lets members in: the vault, or a site server that asks it.
#[async_trait]
pub trait Enroller: Send + Sync {
    /// Answers a request to be let in. What it notes must be durable before it answers, and
    /// the same request may come again.
    async fn enrol(&self, request: Enrolment, from: SocketAddr) -> Result<Enrolled, Refusal>;
}

/// The router for strangers: [`ENROL_PATH`] alone.
pub fn enrolment_router(enroller: Arc<dyn Enroller>) -> Router {
    Router::new().route(ENROL_PATH, post(enrol_one)).with_state(enroller)
}

async fn enrol_one(
    State(enroller): State<Arc<dyn Enroller>>,
    Extension(from): Extension<SocketAddr>,
    Json(request): Json<Enrolment>,
) -> Result<Json<Enrolled>, Refusal> {
    let name = request.reach.name.clone();
    request.check().map_err(|error| Refusal::bad_request(error.to_string()))?;
    let answer = enroller.enrol(request, from).await;
    match &answer {
        Ok(enrolled) => tracing::info!(%from, name, id = %enrolled.id, "a member was enrolled"),
        Err(refusal) => {
            tracing::warn!(%from, name, code = refusal.problem.code, "an enrolment was refused");
        }
    }
    answer.map(Json)
}

/// What an applicant brings.
#[derive(Debug)]
pub struct Applicant<'a> {
    /// The registration key.
    pub key: &'a RegistrationKey,
    /// Its own key. Keep it durable before the first attempt: asked again with the same,
    /// the issuer gives the same answer.
    pub request: &'a KeyRequest,
    /// How it is reached.
    pub reach: Reach,
    /// Its version.
    pub version: &'a str,
}

/// Enrols: gives what is to be kept, and who the applicant is now.
///
/// # Errors
/// The issuer is not the one that the key names, or refuses; what it answers does not
/// belong together; see [`ChannelError::advice`].
pub async fn enrol(applicant: &Applicant<'_>) -> Result<(Bundle, Identity), ChannelError> {
    let key = applicant.key;
    let (role, id) = key.issuer;
    let tls = tls::stranger_config(key.fingerprint, Expected { role, id: Some(id) })?;
    let now = SystemTime::now();
    let enrolment = Enrolment {
        registration: key.id,
        secret: key.secret.reveal().to_string(),
        applying: if key.role == Role::Site { Applying::Site } else { Applying::Host },
        csr_pem: applicant.request.csr_pem.clone(),
        reach: applicant.reach.clone(),
        version: applicant.version.to_owned(),
        clock_ms: milliseconds(now),
    };
    enrolment.check()?;
    let answer: Enrolled = call_as_stranger(&key.address, tls, ENROL_PATH, &enrolment).await?;
    let skew_ms = answer.clock_ms.abs_diff(enrolment.clock_ms);
    if u128::from(skew_ms) > SKEW_MAX.as_millis() {
        tracing::warn!(skew_ms, issuer = key.address, "the clocks differ: set them, certificates have dates");
    }
    let trust = Trust::parse(&answer.trust.authority_pem, &answer.trust.revoked_pem)?;
    if !trust.has(&key.fingerprint) {
        let expected = key.fingerprint.to_string();
        return Err(PkiError::WrongFingerprint { expected, found: "another".to_owned() }.into());
    }
    let bundle = Bundle {
        key_pem: applicant.request.key_pem.clone(),
        cert_pem: answer.chain_pem,
        authority_pem: answer.trust.authority_pem,
        revoked_pem: answer.trust.revoked_pem,
    };
    let identity = checked(&bundle, &key.address, now)?;
    if (identity.role, identity.id) != (key.role, answer.id) {
        return Err(unexpected(&key.address));
    }
    Ok((bundle, identity))
}

/// Renews a member's certificate with a new key at its server; gives what is to be kept.
///
/// # Errors
/// As of any call; an answer that does not belong to the question.
pub async fn renew(client: &Client, reach: Reach) -> Result<Bundle, ChannelError> {
    let request = KeyRequest::generate()?;
    let renewal = Renewal { csr_pem: request.csr_pem, reach };
    renewal.check()?;
    let answer: Renewed = client.post(RENEW_PATH, &renewal, Call::default()).await?;
    let bundle = Bundle {
        key_pem: request.key_pem,
        cert_pem: answer.chain_pem,
        authority_pem: answer.trust.authority_pem,
        revoked_pem: answer.trust.revoked_pem,
    };
    let (was, is) = (client.keyring().identity(), checked(&bundle, client.address(), SystemTime::now())?);
    if (was.role, was.id) == (is.role, is.id) { Ok(bundle) } else { Err(unexpected(client.address())) }
}

/// Whose certificate an answer is, if it is for our key and holds.
fn checked(bundle: &Bundle, peer: &str, now: SystemTime) -> Result<Identity, ChannelError> {
    let credentials = match bundle.check(now) {
        Err(PkiError::KeyMismatch { .. }) => return Err(unexpected(peer)),
        checked => checked?,
    };
    Ok(credentials.facts.identity()?.clone())
}

fn unexpected(peer: &str) -> ChannelError {
    ChannelError::Malformed {
        peer: peer.to_owned(),
        why: "the certificate is not for this host and its key".to_owned(),
    }
}

pub(crate) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

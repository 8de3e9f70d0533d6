//! Enrolment on the host's side: durable before it is sent, the same again when repeated.
//! This module must never know how a registration key is judged.

use std::path::Path;

use farshore_channel::{Applicant, Backoff, ChannelError};
use farshore_control::enrolment::Reach;
use farshore_pki::{Bundle, Identity, KeyRequest, RegistrationKey, Role};
use tokio::time::sleep;

use super::{
    Membership,
    record::{Pending, Record, Server},
};
use crate::AgentError;

/// How often a server that does not answer is tried; the command can be repeated.
const ATTEMPTS: u32 = 4;

/// What is to be done.
#[derive(Debug)]
pub struct Wanted {
    /// The registration key.
    pub key: RegistrationKey,
    /// How this host is known and reached.
    pub reach: Reach,
    /// Whether a host that is enrolled already gives that up.
    pub anew: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Who this host is.
    pub identity: Identity,
    /// Whom it talks to.
    pub server: String,
    /// Whether it was so before.
    pub already: bool,
}

/// A registration key as people give it.
///
/// # Errors
/// A text that is none, with what to do.
pub fn parse_key(text: &str) -> Result<RegistrationKey, AgentError> {
    let wrong = |what: String, advice: &str| AgentError::Request { what, advice: advice.to_owned() };
    let key: RegistrationKey = text
        .parse()
        .map_err(|error| wrong(format!("{error}"), "copy the key again, whole, from where it was made"))?;
    if key.role == Role::Host {
        return Ok(key);
    }
    let what = format!("the registration key is for a {}, and this is a host", key.role);
    Err(wrong(what, "have one made for a host, by its site server"))
}

/// Enrols this host; its identity is in `dir` then. Repeated with the same key it goes on
/// where it was cut, and does nothing where all is done.
///
/// # Errors
/// The host is enrolled by another key; the issuer refuses, is another one than the key
/// says, or does not answer; files that cannot be written.
pub async fn enrol(dir: &Path, wanted: &Wanted) -> Result<Enrolled, AgentError> {
    let key = &wanted.key;
    if let Some(already) = enrolled_already(dir, wanted)? {
        Pending::forget(dir)?;
        return Ok(already);
    }
    let request = pending(dir, key)?;
    let applicant =
        Applicant { key, request: &request, reach: wanted.reach.clone(), version: env!("CARGO_PKG_VERSION") };
    let (bundle, identity) = ask(&applicant).await?;
    let (role, id) = key.issuer;
    let server = Server { address: key.address.clone(), role, id };
    let record = Record { registration: key.id, servers: vec![server], reach: wanted.reach.clone() };
    // The identity last: with it the host is a member.
    record.save(dir)?;
    bundle.save(dir)?;
    Pending::forget(dir)?;
    Ok(Enrolled { identity, server: key.address.clone(), already: false })
}

/// What there is already, if it is by this key.
fn enrolled_already(dir: &Path, wanted: &Wanted) -> Result<Option<Enrolled>, AgentError> {
    // With `anew` it does not matter what is damaged.
    let record = match Record::load(dir) {
        Err(_) if wanted.anew => None,
        loaded => loaded?,
    };
    if !Bundle::exists(dir) {
        return Ok(None);
    }
    let loaded = match Membership::load(dir) {
        Err(_) if wanted.anew => None,
        loaded => loaded?,
    };
    let by_this_key = record.is_some_and(|record| record.registration == wanted.key.id);
    match loaded {
        // While an enrolment is under way the record may be ahead of the identity.
        Some(membership) if by_this_key && !is_under_way(dir, &wanted.key, &membership)? => {
            let identity = membership.keyring.identity();
            Ok(Some(Enrolled { identity, server: wanted.key.address.clone(), already: true }))
        }
        _ if wanted.anew || by_this_key => Ok(None),
        Some(membership) => {
            let at = membership.record.servers.first().map_or("?", |server| &server.address);
            let who = membership.keyring.identity();
            Err(enrolled_otherwise(&format!("this host is enrolled already, as {who} at {at}")))
        }
        None => Err(enrolled_otherwise("this host has an identity already, of which no enrolment is known")),
    }
}

/// Whether the identity in place is still the one from before the enrolment by this key.
fn is_under_way(dir: &Path, key: &RegistrationKey, membership: &Membership) -> Result<bool, AgentError> {
    let Some(pending) = Pending::load(dir)?.filter(|pending| pending.registration == key.id) else {
        return Ok(false);
    };
    let pending = farshore_pki::Applicant::parse(&KeyRequest::of_key(&pending.key_pem)?.csr_pem)?;
    let held = Bundle::load(&membership.dir)?;
    let held = farshore_pki::Applicant::parse(&KeyRequest::of_key(&held.key_pem)?.csr_pem)?;
    Ok(held.key_digest() != pending.key_digest())
}

fn enrolled_otherwise(what: &str) -> AgentError {
    AgentError::Request {
        what: what.to_owned(),
        advice: "nothing is to be done if that is right; --anew gives it up, and the host gets another id"
            .to_owned(),
    }
}

/// The key of an earlier, cut attempt, or a new one, durable.
fn pending(dir: &Path, key: &RegistrationKey) -> Result<KeyRequest, AgentError> {
    // One that is damaged can be of no use to anybody.
    let earlier = Pending::load(dir).unwrap_or_default();
    if let Some(earlier) = earlier.filter(|earlier| earlier.registration == key.id) {
        return Ok(KeyRequest::of_key(&earlier.key_pem)?);
    }
    let request = KeyRequest::generate()?;
    Pending { registration: key.id, key_pem: request.key_pem.clone() }.save(dir)?;
    Ok(request)
}

async fn ask(applicant: &Applicant<'_>) -> Result<(Bundle, Identity), ChannelError> {
    let mut backoff = Backoff::default();
    let mut attempt = 1;
    loop {
        match farshore_channel::enrol(applicant).await {
            Err(error) if error.is_recoverable() && attempt < ATTEMPTS => {
                tracing::warn!(%error, "the site server is asked again");
                sleep(backoff.pause()).await;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

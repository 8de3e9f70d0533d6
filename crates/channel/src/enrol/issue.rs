//! The issuer's side of enrolment: from a registration's record and a request to an answer,
//! in two steps, so that what was decided can be made durable in between.

use std::time::SystemTime;

use axum::http::StatusCode;
use farshore_control::{
    TrustDocument,
    enrolment::{Applying, Enrolled, Enrolment, Reach, Renewal, Renewed},
};
use farshore_pki::{
    Admission, Applicant, Authority, Claim, Facts, Identity, Lifetime, PkiError, Registration,
    RegistrationError, Role, Secret, Use,
};
use uuid::Uuid;

use super::milliseconds;
use crate::{Peer, Refusal};

/// Who is let in; to be durable, with [`Registration::mark_used`], before it is signed for.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is from now on.
    pub identity: Identity,
    /// How the registration was used; the same as before where it is asked for again.
    pub used: Use,
    /// Whether the registration had been used by the same applicant.
    pub again: bool,
    applicant: Applicant,
    reach: Reach,
}

/// Decides whether a request is let in, by the record of its registration; `id` is given to
/// a new member. For an id that is not known answer [`RegistrationError::Unknown`].
///
/// # Errors
/// A refusal that says why not.
pub fn admit(
    registration: &Registration,
    request: &Enrolment,
    id: Uuid,
    now: SystemTime,
) -> Result<Member, Refusal> {
    request.check().map_err(|error| Refusal::bad_request(error.to_string()))?;
    let secret: Secret = request.secret.parse().map_err(|_| RegistrationError::WrongSecret)?;
    let applicant = Applicant::parse(&request.csr_pem).map_err(|e| Refusal::bad_request(e.to_string()))?;
    let role = match request.applying {
        Applying::Site => Role::Site,
        Applying::Host => Role::Host,
    };
    let key_digest = applicant.key_digest();
    let claim = Claim { role, secret: &secret, key_digest: &key_digest };
    let now_ms = milliseconds(now);
    let (used, again) = match registration.admit(&claim, now_ms)? {
        Admission::First => {
            let name = request.reach.name.clone();
            (Use { at_ms: now_ms, id, name, key_digest }, false)
        }
        Admission::Again(used) => (used, true),
    };
    let identity = Identity { role, id: used.id, name: request.reach.name.clone() };
    Ok(Member { identity, used, again, applicant, reach: request.reach.clone() })
}

/// What signs: the authority, and the trust that goes with every certificate.
#[derive(Debug)]
pub struct Signing<'a> {
    /// The authority.
    pub authority: &'a Authority,
    /// What new members are to trust.
    pub trust: &'a TrustDocument,
}

impl Signing<'_> {
    /// Signs for a member that was let in. The certificate's number, in the facts, is
    /// needed to revoke it: keep it.
    ///
    /// # Errors
    /// A refusal where no certificate can carry the names.
    pub fn enrol(&self, member: &Member, now: SystemTime) -> Result<(Enrolled, Facts), Refusal> {
        let (chain_pem, facts) = self.sign(&member.applicant, &member.identity, &member.reach, now)?;
        let trust = self.trust.clone();
        Ok((Enrolled { id: member.identity.id, chain_pem, trust, clock_ms: milliseconds(now) }, facts))
    }

    /// Signs anew for a member that has a certificate which holds: under the same role, id
    /// and name, whatever it asks for.
    ///
    /// # Errors
    /// A refusal where the request is not sound.
    pub fn renew(
        &self,
        peer: &Peer,
        request: &Renewal,
        now: SystemTime,
    ) -> Result<(Renewed, Facts), Refusal> {
        request.check().map_err(|error| Refusal::bad_request(error.to_string()))?;
        let applicant =
            Applicant::parse(&request.csr_pem).map_err(|e| Refusal::bad_request(e.to_string()))?;
        let (chain_pem, facts) = self.sign(&applicant, &peer.identity, &request.reach, now)?;
        Ok((Renewed { chain_pem, trust: self.trust.clone() }, facts))
    }

    fn sign(
        &self,
        applicant: &Applicant,
        identity: &Identity,
        reach: &Reach,
        now: SystemTime,
    ) -> Result<(String, Facts), Refusal> {
        let addresses: Vec<&str> = reach.addresses.iter().map(String::as_str).collect();
        let lifetime = Lifetime::of_member(now);
        let signed = self.authority.sign(applicant, identity, &addresses, lifetime).map_err(unissuable)?;
        Ok((signed.cert_pem, signed.facts))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unissuable(error: PkiError) -> Refusal {
    Refusal::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "unissuable",
        error.to_string(),
        "correct the host's name and addresses in its configuration",
    )
}

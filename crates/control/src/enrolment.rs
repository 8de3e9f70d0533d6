//! How a host or a site server is let in once, and how certificates are renewed: what is
//! asked and answered. Keys and certificates are texts (PEM) here; what they mean, and
//! whether a registration key is taken, is not this room's.
//!
//! ```text
//! applicant ──Enrolment──► issuer        over TLS that proves the issuer only
//! applicant ◄──Enrolled─── issuer        asked again with the same key: the same id
//! member ────Renewal─────► issuer        over mutual TLS
//! member ◄───Renewed────── issuer
//! ```

use std::net::IpAddr;

use farshore_types::{HostId, Principal, PrincipalError, RegistrationId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::TrustDocument;

/// Where an [`Enrolment`] is posted.
pub const ENROL_PATH: &str = "/enrolment/v1/enrol";
/// Where a [`Renewal`] is posted.
pub const RENEW_PATH: &str = "/channel/v1/renew";

/// Most names and addresses of one member.
pub const NAMES_MAX: usize = 16;
/// Most bytes of one name: what DNS takes.
pub const NAME_BYTES_MAX: usize = 253;
/// Most bytes of one part of a name between dots.
const LABEL_BYTES_MAX: usize = 63;
/// Most bytes of a request for a certificate.
pub const CSR_BYTES_MAX: usize = 16 * 1024;

/// What an applicant becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applying {
    /// A site server.
    Site,
    /// A host.
    Host,
}

/// By which names and addresses a member is known and reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Its name; the first of its certificate.
    pub name: String,
    /// Other names and IP addresses by which it is reached.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Where it takes replication, `host:port`, where that differs from its name (VPN, NAT,
    /// a network of its own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<String>,
    /// Its Kerberos principal, `service/host@REALM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// Asks to be let in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Which registration key.
    pub registration: RegistrationId,
    /// The key's secret, which proves that the applicant has it. It goes to who proved to
    /// be its issuer, and nowhere else.
    pub secret: String,
    /// As what.
    pub applying: Applying,
    /// The request for a certificate, PEM. Of it only the public key counts.
    pub csr_pem: String,
    /// How it is reached.
    pub reach: Reach,
    /// The applicant's version.
    pub version: String,
    /// Milliseconds since the Unix epoch by the applicant's clock, to see its skew.
    pub clock_ms: u64,
}

/// The answer to an [`Enrolment`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The id that the applicant has from now on: a host's or a site's.
    pub id: Uuid,
    /// Its certificate, PEM; then those between it and the authority, if any.
    pub chain_pem: String,
    /// Whom to trust.
    pub trust: TrustDocument,
    /// Milliseconds since the Unix epoch by the issuer's clock.
    pub clock_ms: u64,
}

/// Asks for a new certificate for a member whose present one still holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The request, PEM.
    pub csr_pem: String,
    /// How it is reached now.
    pub reach: Reach,
}

/// The answer to a [`Renewal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// As in [`Enrolled`].
    pub chain_pem: String,
    /// As in [`Enrolled`].
    pub trust: TrustDocument,
}

/// Where an [`Introduction`] is posted.
pub const INTRODUCE_PATH: &str = "/site/v1/introduce";

/// A site server asks the vault for the certificate of a host that it let in by one of its own
/// registration keys, or that renews. Asked again with the same id, the vault answers again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Who the host is from now on; chosen by the site server, and durable there.
    pub id: HostId,
    /// The request for a certificate, PEM. Of it only the public key counts.
    pub csr_pem: String,
    /// How the host is reached.
    pub reach: Reach,
    /// The agent's version, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the host is a member already, and renews.
    pub renewal: bool,
}

/// Something in a message that cannot be.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EnrolmentError {
    /// A name that is none.
    #[error("'{name}' is no host name: letters, digits, '-' and '.' make one, and an address alone is none")]
    Name {
        /// What was given.
        name: String,
    },
    /// An address that is neither name nor IP address.
    #[error("'{address}' is neither a host name nor an IP address")]
    Address {
        /// What was given.
        address: String,
    },
    /// A Kerberos principal that is none.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    /// Something of which there is too much.
    #[error("{what} has {found}, and at most {max} are taken")]
    TooMuch {
        /// What.
        what: &'static str,
        /// How many, or how many bytes.
        found: usize,
        /// The most.
        max: usize,
    },
}

impl Reach {
    /// Checks names and counts.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), EnrolmentError> {
        if !is_name(&self.name) || self.name.parse::<IpAddr>().is_ok() {
            return Err(EnrolmentError::Name { name: shortened(&self.name) });
        }
        within("the list of addresses", self.addresses.len(), NAMES_MAX)?;
        for address in &self.addresses {
            if address.parse::<IpAddr>().is_err() && !is_name(address) {
                return Err(EnrolmentError::Address { address: shortened(address) });
            }
        }
        let replication = self.replication.as_deref().unwrap_or_default();
        within("the replication address", replication.len(), NAME_BYTES_MAX + 6)?;
        match &self.principal {
            Some(principal) => Ok(principal.parse::<Principal>().map(drop)?),
            None => Ok(()),
        }
    }
}

impl Enrolment {
    /// Checks what can be checked without knowing anything.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), EnrolmentError> {
        within("the request for a certificate", self.csr_pem.len(), CSR_BYTES_MAX)?;
        self.reach.check()
    }
}

impl Renewal {
    /// Checks what can be checked without knowing anything.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), EnrolmentError> {
        within("the request for a certificate", self.csr_pem.len(), CSR_BYTES_MAX)?;
        self.reach.check()
    }
}

fn within(what: &'static str, found: usize, max: usize) -> Result<(), EnrolmentError> {
    if found > max { Err(EnrolmentError::TooMuch { what, found, max }) } else { Ok(()) }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= NAME_BYTES_MAX && text.split('.').all(label)
}

/// For messages: what came from outside may be as long as it likes.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl std::fmt::Debug for Enrolment {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolment")
            .field("registration", &self.registration)
            .field("applying", &self.applying)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(name: &str, addresses: &[&str]) -> Reach {
        let addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
        Reach { name: name.to_owned(), addresses, ..Reach::default() }
    }

    #[test]
    fn names_and_addresses_are_checked() {
        assert_eq!(reach("alpha.example", &["10.0.0.1", "fd00::1", "alpha"]).check(), Ok(()));
        for name in
            ["", "10.0.0.1", "a..b", "-a", "a b", "ä.example", "urn:farshore:vault:1", &"a".repeat(64)]
        {
            assert!(matches!(reach(name, &[]).check(), Err(EnrolmentError::Name { .. })), "{name}");
        }
        let error = reach("alpha", &["not an address"]).check().unwrap_err().to_string();
        assert!(error.contains("'not an address'"), "{error}");
        let error = reach("alpha", &["a"; 17]).check().unwrap_err().to_string();
        assert!(error.contains("has 17, and at most 16"), "{error}");
    }

    #[test]
    fn an_enrolment_does_not_show_its_secret_in_logs() {
        let enrolment = Enrolment {
            registration: RegistrationId(Uuid::nil()),
            secret: "0123456789abcdef".to_owned(),
            applying: Applying::Host,
            csr_pem: String::new(),
            reach: reach("alpha", &[]),
            version: "0.1.0".to_owned(),
            clock_ms: 1,
        };
        assert!(!format!("{enrolment:?}").contains("0123"));
        let text = serde_json::to_string(&enrolment).unwrap();
        assert_eq!(serde_json::from_str::<Enrolment>(&text).unwrap(), enrolment);
        let huge = Enrolment { csr_pem: "x".repeat(CSR_BYTES_MAX + 1), ..enrolment };
        assert!(huge.check().unwrap_err().to_string().contains("request for a certificate"));
    }
}

//! Who a certificate's holder is to the others: its role and its id, as a URI beside the
//! host names, `urn:farshore:ROLE:UUID`. This module must never know who may do what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What every URI of a role begins with.
const SCHEME: &str = "urn:farshore:";

/// What a certificate's holder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The vault.
    Vault,
    /// A site server.
    Site,
    /// A host's agent.
    Host,
}

/// Who a certificate's holder is, as the authority says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// What it is.
    pub role: Role,
    /// Its id: the vault's, the site's or the host's.
    pub id: Uuid,
    /// Its host name.
    pub name: String,
}

impl Role {
    const ALL: [Role; 3] = [Role::Vault, Role::Site, Role::Host];

    fn word(self) -> &'static str {
        match self {
            Role::Vault => "vault",
            Role::Site => "site",
            Role::Host => "host",
        }
    }

    /// Number in texts that carry a role; 0 is none.
    pub(crate) fn number(self) -> u8 {
        match self {
            Role::Vault => 1,
            Role::Site => 2,
            Role::Host => 3,
        }
    }

    pub(crate) fn of_number(number: u8) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.number() == number)
    }
}

impl fmt::Display for Role {
    /// For sentences: "vault", "site server", "host".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Vault => "vault",
            Role::Site => "site server",
            Role::Host => "host",
        })
    }
}

impl FromStr for Role {
    type Err = ();

    fn from_str(text: &str) -> Result<Role, ()> {
        Role::ALL.into_iter().find(|role| role.word() == text).ok_or(())
    }
}

impl Identity {
    /// The URI that stands for role and id in a certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}:{}", self.role.word(), self.id)
    }

    /// Role and id of a URI; none where it is not one of ours.
    pub(crate) fn parse_uri(uri: &str) -> Option<(Role, Uuid)> {
        let (role, id) = uri.strip_prefix(SCHEME)?.split_once(':')?;
        Some((role.parse().ok()?, Uuid::parse_str(id).ok()?))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

//! Identities that the vault gives. Each kind is a type of its own, so that a host's can
//! never stand where a site's belongs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// The text is not an identity of its kind.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{text}' is not the id of a {kind}: expected a UUID")]
pub struct IdError {
    /// Which kind was expected.
    pub kind: &'static str,
    /// What was given.
    pub text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = |_| IdError { kind: $kind, text: text.to_owned() };
                Uuid::parse_str(text).map($name).map_err(wrong)
            }
        }
    };
}

id!(
    /// One vault's records from `init` on; a warm copy that is promoted is another vault.
    VaultId, "vault"
);
id!(
    /// A site and its site server.
    SiteId, "site"
);
id!(
    /// A cloud: a group of hosts of a site.
    CloudId, "cloud"
);
id!(
    /// A host and its agent.
    HostId, "host"
);
id!(
    /// A replication policy.
    PolicyId, "policy"
);
id!(
    /// A job.
    JobId, "job"
);
id!(
    /// A request to an agent that is done once.
    RequestId, "request"
);
id!(
    /// A registration key, by which a host or a site server is enrolled once.
    RegistrationId, "registration"
);

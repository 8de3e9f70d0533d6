//! A host's name in Kerberos: `service/host@REALM`. This module must never ask anybody
//! whether there is such a principal.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bytes of a principal.
const PRINCIPAL_BYTES_MAX: usize = 512;

/// A host's principal, `service/host@REALM`; every part is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal(String);

/// A text that names no host's principal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{text}' is not a host's Kerberos principal: {why}; it must be service/host@REALM, such as farshore/{{host}}@EXAMPLE.ORG", text = shortened(.text))]
pub struct PrincipalError {
    /// What was given.
    text: String,
    /// What is wrong with it.
    why: &'static str,
}

impl Principal {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is after the `@`.
    #[must_use]
    pub fn realm(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, realm)| realm)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.0
    }
}

impl TryFrom<String> for Principal {
    type Error = PrincipalError;

    fn try_from(text: String) -> Result<Principal, PrincipalError> {
        text.parse()
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Principal, PrincipalError> {
        let wrong = |why| Err(PrincipalError { text: text.to_owned(), why });
        if text.len() > PRINCIPAL_BYTES_MAX {
            return wrong("it is too long");
        }
        // A backslash would quote what follows it, and two texts could then be one name.
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '\\';
        if !text.chars().all(plain) {
            return wrong("it has spaces, control characters or backslashes in it");
        }
        let Some((name, realm)) = text.split_once('@') else { return wrong("the realm is missing") };
        if realm.is_empty() || realm.contains(['@', '/']) {
            return wrong("the realm is no realm");
        }
        match name.split_once('/') {
            None => wrong("the host is missing"),
            Some((service, host)) if service.is_empty() || host.is_empty() || host.contains('/') => {
                wrong("service or host is missing, or there is too much")
            }
            Some(_) => Ok(Principal(text.to_owned())),
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_principal_has_three_parts() {
        let principal: Principal = "farshore/hosta.example@EXAMPLE.ORG".parse().unwrap();
        assert_eq!((principal.realm(), principal.as_str().len()), ("EXAMPLE.ORG", 34));
    }

    #[test]
    fn what_is_none_is_named_with_the_reason() {
        for (text, why) in [
            ("farshore/host", "realm is missing"),
            ("farshore/host@", "no realm"),
            ("farshore/host@A@B", "no realm"),
            ("farshore/host@A/B", "no realm"),
            ("host@REALM", "host is missing"),
            ("/host@REALM", "service or host"),
            ("farshore/@REALM", "service or host"),
            ("a/b/c@REALM", "too much"),
            ("farshore/ho st@REALM", "spaces"),
            ("farshore/ho\\@st@REALM", "backslashes"),
            ("", "realm is missing"),
        ] {
            let error = text.parse::<Principal>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("service/host@REALM"), "{text}: {error}");
        }
        assert!(format!("a/{}@R", "x".repeat(600)).parse::<Principal>().is_err());
    }
}

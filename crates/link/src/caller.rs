//! Who has connected, and what proves it. This module must never decide whether that is enough.

use std::fmt;

/// Another host, as it has proved itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its name.
    pub name: String,
    /// By what it is known.
    pub proof: Proof,
}

/// By what a host is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A certificate with its name in it.
    Certificate,
    /// A Kerberos principal that was assigned to it.
    Kerberos,
}

impl Caller {
    /// A host that has shown a certificate.
    pub fn by_certificate(name: impl Into<String>) -> Caller {
        Caller { name: name.into(), proof: Proof::Certificate }
    }

    /// A host that has shown its principal.
    pub fn by_kerberos(name: impl Into<String>) -> Caller {
        Caller { name: name.into(), proof: Proof::Kerberos }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

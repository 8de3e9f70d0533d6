//! What keeps two hosts from knowing each other by Kerberos: what, where, and what to do.

use std::path::PathBuf;

use thiserror::Error;

use crate::Message;

/// Kerberos did not make two hosts known to each other.
#[derive(Debug, Error)]
pub enum KerberosError {
    /// The keytab cannot be read.
    #[error("keytab {} cannot be read: {why}", path.display())]
    NoKeytab {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The keytab has not got this host's keys.
    #[error("keytab {} has no key of this host's principal {principal}", path.display())]
    KeytabLacks {
        /// This host's principal.
        principal: String,
        /// The file.
        path: PathBuf,
    },
    /// The library was not told of the keytab when the process began.
    #[error("this process was started without the variables that tell the Kerberos library of keytab {}", path.display())]
    NotStartedFor {
        /// The keytab.
        path: PathBuf,
    },
    /// The key distribution centre does not know a principal.
    #[error("the key distribution centre knows no principal {principal}")]
    NoSuchPrincipal {
        /// Which.
        principal: String,
    },
    /// A realm that leads nowhere.
    #[error("realm {realm} is not known here, or this host's realm does not trust it ({why})")]
    Realm {
        /// Which.
        realm: String,
        /// The library's reason.
        why: String,
    },
    /// No key distribution centre answers.
    #[error("no key distribution centre answers ({why})")]
    Unreachable {
        /// The library's reason.
        why: String,
    },
    /// A key that is not in force any more, or not yet everywhere.
    #[error(
        "the key of {principal} in the keytab is not the one that the key distribution centre has ({why})"
    )]
    OtherKey {
        /// Whose.
        principal: String,
        /// The library's reason.
        why: String,
    },
    /// Clocks that differ too much.
    #[error(
        "the clocks of the two hosts and the key distribution centre differ by more than Kerberos allows ({why})"
    )]
    ClockSkew {
        /// The library's reason.
        why: String,
    },
    /// A ticket that is over.
    #[error("the ticket of {principal} has expired")]
    Expired {
        /// Whose.
        principal: String,
    },
    /// A token that was seen before.
    #[error("this token was seen before: somebody repeats what another host has sent")]
    Replayed,
    /// The peer did not show the channel.
    #[error("the peer did not bind Kerberos to this connection")]
    Unbound,
    /// The peer speaks over another channel.
    #[error("the peer's Kerberos is bound to another connection: somebody is between the two hosts")]
    OtherChannel,
    /// Only one side proves anything, or nothing is sealed.
    #[error("the peer's Kerberos does not prove both hosts to each other")]
    NotMutual,
    /// Another host answered.
    #[error("{found} answers, {wanted} was meant")]
    OtherPrincipal {
        /// Who was meant.
        wanted: String,
        /// Who it is.
        found: String,
    },
    /// A principal that no host has that may come.
    #[error("principal {principal} is not that of a host that may replicate with this one")]
    NotAssigned {
        /// Which.
        principal: String,
    },
    /// A message, or part of one, that is longer than any may be.
    #[error("a message of the Kerberos handshake has {found} bytes, at most {most} are taken")]
    Oversized {
        /// Its bytes.
        found: u64,
        /// The most.
        most: usize,
    },
    /// What does not belong there.
    #[error("the Kerberos handshake is broken: {what}")]
    Malformed {
        /// What was found.
        what: &'static str,
    },
    /// The peer ended it.
    #[error("the peer says: {what}")]
    Refused {
        /// Its reason.
        what: String,
        /// Its advice.
        advice: String,
    },
    /// Anything else that the library reports.
    #[error("Kerberos failed: {why}")]
    Other {
        /// The library's text.
        why: String,
    },
}

impl KerberosError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &str {
        match self {
            KerberosError::NoKeytab { .. } => {
                "export the host's keys to it (`kadmin ktadd`), readable for the agent alone; see docs/kerberos.md"
            }
            KerberosError::KeytabLacks { .. } => {
                "add its key with `kadmin ktadd`, or correct `principal` in [kerberos]; `klist -k` shows what it has"
            }
            KerberosError::NotStartedFor { .. } => {
                "start the agent anew, with [kerberos] in its configuration"
            }
            KerberosError::NoSuchPrincipal { .. } => {
                "create it with `kadmin addprinc -randkey`, or correct the host's principal at the vault"
            }
            KerberosError::Realm { .. } => {
                "name the realm's servers in krb5.conf on both hosts, and let the realms trust each other; \
                 or correct the principal"
            }
            KerberosError::Unreachable { .. } => {
                "check krb5.conf and the network; sessions that are open go on meanwhile"
            }
            KerberosError::OtherKey { .. } => "export the keytab anew, and start the agent anew",
            KerberosError::ClockSkew { .. } => "synchronise the clocks of both hosts with those of the realm",
            KerberosError::Expired { .. } => {
                "see that the keytab is in place, so that a new ticket is had by itself, and check the clocks"
            }
            KerberosError::Replayed => "find out who listens on the network between the hosts",
            KerberosError::Unbound => {
                "look whether an agent of this version, and nothing else, connects there"
            }
            KerberosError::OtherChannel => {
                "remove what ends TLS between the hosts: a proxy, or worse; nothing was sent through it"
            }
            KerberosError::NotMutual => "look whether an agent of this version runs there",
            KerberosError::OtherPrincipal { .. } => "check the target's address and principal at the vault",
            KerberosError::NotAssigned { .. } => {
                "see that the vault has this principal for the host, and that the two hosts' clouds are paired; \
                 without a vault, add it to [kerberos.peers]"
            }
            KerberosError::Oversized { .. } | KerberosError::Malformed { .. } => {
                "look whether an agent of this version runs there, and into its log"
            }
            KerberosError::Refused { advice, .. } => advice,
            KerberosError::Other { .. } => {
                "KRB5_TRACE=/dev/stderr in the agent's environment shows each step"
            }
        }
    }

    /// Whether it may pass without anybody's doing.
    #[must_use]
    pub fn is_recoverable(&self) -> bool {
        matches!(self, KerberosError::Unreachable { .. })
    }

    /// As the peer is told. It has proved nothing yet: what this host has on its disks is not
    /// its business.
    #[must_use]
    pub fn as_refusal(&self) -> Option<Message> {
        let (what, advice) = match self {
            KerberosError::Refused { .. } => return None,
            KerberosError::NoKeytab { .. }
            | KerberosError::KeytabLacks { .. }
            | KerberosError::NotStartedFor { .. }
            | KerberosError::Other { .. } => {
                ("Kerberos does not work on the target".to_owned(), "look into the target agent's log")
            }
            other => (other.to_string(), other.advice()),
        };
        Some(Message::Refusal { what, advice: advice.to_owned() })
    }
}

//! What the library's numbers mean for the people who run the hosts. The numbers are those of
//! the protocol (RFC 4120) on a base of MIT Kerberos's; the texts are the library's own.

use std::{fs::File, path::PathBuf};

use libgssapi::error::Error;

use crate::{KerberosError, Principal};

/// Where the protocol's own numbers begin.
const PROTOCOL: i32 = -1_765_328_384;
const CLIENT_UNKNOWN: i32 = PROTOCOL + 6;
const SERVER_UNKNOWN: i32 = PROTOCOL + 7;
const PREAUTH_FAILED: i32 = PROTOCOL + 24;
const BAD_INTEGRITY: i32 = PROTOCOL + 31;
const EXPIRED: i32 = PROTOCOL + 32;
const NOT_YET_VALID: i32 = PROTOCOL + 33;
const REPEATED: i32 = PROTOCOL + 34;
const NOT_US: i32 = PROTOCOL + 35;
const SKEW: i32 = PROTOCOL + 37;
const MODIFIED: i32 = PROTOCOL + 41;
const BAD_KEY_VERSION: i32 = PROTOCOL + 44;
const NO_KEY: i32 = PROTOCOL + 45;
/// The library's own.
const NO_TICKET: i32 = -1_765_328_243;
const NO_TICKET_FILE: i32 = -1_765_328_189;
const NOT_IN_KEYTAB: i32 = -1_765_328_203;
const REALM_UNKNOWN: i32 = -1_765_328_230;
const REALM_UNRESOLVED: i32 = -1_765_328_164;
const UNREACHABLE: i32 = -1_765_328_228;
/// GSSAPI's: no key of that name for accepting.
const NO_MATCHING_KEY: i32 = 39_756_033;
const NO_FILE: i32 = 2;
const NO_PERMISSION: i32 = 13;

/// Routine errors, bits 16 to 23 of the major status.
const ROUTINE: u32 = 0xff;
const BAD_MIC: u32 = 6;
const DEFECTIVE_TOKEN: u32 = 9;
/// Supplementary bits: seen before, too old, out of order, with a gap.
const SUPPLEMENTARY: u32 = 0b1_1110;

/// Whose call it was.
#[derive(Clone, Debug)]
pub(super) struct Explain {
    pub(super) own: Principal,
    pub(super) keytab: PathBuf,
    pub(super) peer: Option<Principal>,
}

/// Whether what was to be opened was not sealed under this context, or was opened before.
pub(super) fn is_refused_seal(error: &Error) -> bool {
    let major = error.major.bits();
    matches!(major >> 16 & ROUTINE, BAD_MIC | DEFECTIVE_TOKEN) || major & SUPPLEMENTARY != 0
}

impl Explain {
    /// An error about this host's own keys and tickets.
    pub(super) fn own(&self, error: Error) -> KerberosError {
        match error.minor.cast_signed() {
            NO_TICKET | NO_TICKET_FILE | NOT_IN_KEYTAB | NO_MATCHING_KEY | NO_FILE | NO_PERMISSION => {
                self.keytab()
            }
            CLIENT_UNKNOWN | SERVER_UNKNOWN => {
                KerberosError::NoSuchPrincipal { principal: self.own.to_string() }
            }
            PREAUTH_FAILED | BAD_INTEGRITY => self.other_key(&error),
            REALM_UNKNOWN | REALM_UNRESOLVED => realm(&self.own, &error),
            _ => self.common(error),
        }
    }

    /// An error about the peer, or what it sent.
    pub(super) fn peer(&self, error: Error) -> KerberosError {
        let wanted = self.peer.as_ref().unwrap_or(&self.own);
        match error.minor.cast_signed() {
            // The way to another realm is a principal, too.
            SERVER_UNKNOWN | REALM_UNKNOWN | REALM_UNRESOLVED if wanted.realm() != self.own.realm() => {
                realm(wanted, &error)
            }
            SERVER_UNKNOWN => KerberosError::NoSuchPrincipal { principal: wanted.to_string() },
            REALM_UNKNOWN | REALM_UNRESOLVED => realm(wanted, &error),
            CLIENT_UNKNOWN => KerberosError::NoSuchPrincipal { principal: self.own.to_string() },
            BAD_INTEGRITY | NOT_US | MODIFIED | BAD_KEY_VERSION | NO_KEY | NOT_IN_KEYTAB | PREAUTH_FAILED => {
                self.other_key(&error)
            }
            NO_TICKET | NO_TICKET_FILE | NO_MATCHING_KEY => self.keytab(),
            _ => self.common(error),
        }
    }

    fn common(&self, error: Error) -> KerberosError {
        match error.minor.cast_signed() {
            SKEW | NOT_YET_VALID => KerberosError::ClockSkew { why: detail(&error) },
            EXPIRED => match self.peer {
                Some(_) => KerberosError::Expired { principal: self.own.to_string() },
                None => KerberosError::Expired { principal: "the peer".to_owned() },
            },
            REPEATED => KerberosError::Replayed,
            UNREACHABLE => KerberosError::Unreachable { why: detail(&error) },
            _ if error.major.bits() >> 16 & ROUTINE == DEFECTIVE_TOKEN => {
                KerberosError::Malformed { what: "a token that is none of Kerberos" }
            }
            _ => KerberosError::Other { why: error.to_string() },
        }
    }

    /// Why nothing was had from the keytab.
    fn keytab(&self) -> KerberosError {
        let path = self.keytab.clone();
        match File::open(&path) {
            Ok(_) => KerberosError::KeytabLacks { principal: self.own.to_string(), path },
            Err(error) => KerberosError::NoKeytab { path, why: error.to_string() },
        }
    }

    fn other_key(&self, error: &Error) -> KerberosError {
        KerberosError::OtherKey { principal: self.own.to_string(), why: detail(error) }
    }
}

fn realm(principal: &Principal, error: &Error) -> KerberosError {
    KerberosError::Realm { realm: principal.realm().to_owned(), why: detail(error) }
}

/// The library's own words, without the general ones before them.
fn detail(error: &Error) -> String {
    let text = error.to_string();
    match text.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')) {
        Some(detail) => detail.to_owned(),
        None => text,
    }
}

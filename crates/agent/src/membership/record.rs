//! The files beside `identity.pem`. This module must never judge what they say.

use std::{fs, io, path::Path};

use farshore_control::enrolment::Reach;
use farshore_pki::{PkiError, Role, read, write_secret};
use farshore_types::RegistrationId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::AgentError;

const RECORD: &str = "membership.json";
const PENDING: &str = "enrolment.json";

/// How this host came to be a member, and of whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// By which key.
    pub(super) registration: RegistrationId,
    /// Whom to talk to, the first first.
    pub(super) servers: Vec<Server>,
    /// How this host is reached: told again with each renewal.
    pub(super) reach: Reach,
}

/// A server that this host talks to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Server {
    /// `host:port`.
    pub(super) address: String,
    pub(super) role: Role,
    pub(super) id: Uuid,
}

/// An enrolment under way.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) registration: RegistrationId,
    /// The private key, PEM; a secret.
    pub(super) key_pem: String,
}

impl Record {
    pub(super) fn load(dir: &Path) -> Result<Option<Record>, AgentError> {
        load(dir, RECORD)
    }

    pub(super) fn save(&self, dir: &Path) -> Result<(), AgentError> {
        save(dir, RECORD, self)
    }
}

impl Pending {
    pub(super) fn load(dir: &Path) -> Result<Option<Pending>, AgentError> {
        load(dir, PENDING)
    }

    pub(super) fn save(&self, dir: &Path) -> Result<(), AgentError> {
        save(dir, PENDING, self)
    }

    /// The enrolment is over.
    pub(super) fn forget(dir: &Path) -> Result<(), AgentError> {
        let path = dir.join(PENDING);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(AgentError::io("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn load<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, AgentError> {
    let path = dir.join(name);
    let text = match read(&path) {
        Err(PkiError::Missing { .. }) => return Ok(None),
        read => read?,
    };
    serde_json::from_str(&text).map(Some).map_err(|error| AgentError::Request {
        what: format!("{} is damaged: {error}", path.display()),
        advice: "enrol this host anew with a new registration key: `farshore-agent enrol --anew`".to_owned(),
    })
}

fn save(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), AgentError> {
    let path = dir.join(name);
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| AgentError::io("write", &path)(io::Error::other(error)))?;
    Ok(write_secret(&path, &(text + "\n"))?)
}

//! Registration keys for hosts: made here, used once, kept durable. Whether a key is taken is
//! decided here; the certificate comes from the vault. This module must never see a key's
//! secret longer than a question lasts.

use farshore_pki::{Admission, Claim, Registration, RegistrationError, Use};
use farshore_types::RegistrationId;
use uuid::Uuid;

use super::Core;
use crate::journal::Record;

/// What a claim comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyUse {
    /// A new host: the record is to be durable before the vault is asked for its certificate.
    First {
        /// The id that it is given.
        id: Uuid,
        /// What is to be kept.
        record: Box<Record>,
    },
    /// The same host asks again: it gets the same id.
    Again {
        /// That id.
        id: Uuid,
    },
}

impl Core {
    /// The record of a key that was made, to be made durable and applied before the key is
    /// shown to anybody.
    #[must_use]
    pub fn new_key(registration: Registration) -> Record {
        Record::Registration(registration)
    }

    /// Judges who comes with a key. `id` is a fresh one, for a first use.
    ///
    /// # Errors
    /// Why the key is not taken.
    pub fn claim(
        &self,
        key: RegistrationId,
        claim: &Claim<'_>,
        name: &str,
        id: Uuid,
        wall_ms: u64,
    ) -> Result<KeyUse, RegistrationError> {
        let registration = self.registrations.get(&key).ok_or(RegistrationError::Unknown)?;
        match registration.admit(claim, wall_ms)? {
            Admission::Again(used) => Ok(KeyUse::Again { id: used.id }),
            Admission::First => {
                let mut used = registration.clone();
                let (name, key_digest) = (name.to_owned(), claim.key_digest.to_owned());
                used.mark_used(Use { at_ms: wall_ms, id, name, key_digest });
                Ok(KeyUse::First { id, record: Box::new(Record::Registration(used)) })
            }
        }
    }

    /// Keys that nobody has used, withdrawn: records to be made durable and applied. A
    /// journal that lost more than its torn end may have forgotten that one was used.
    #[must_use]
    pub fn withdraw_unused(&self) -> Vec<Record> {
        let unused = self.registrations.values().filter(|key| key.used.is_none() && !key.withdrawn);
        unused.map(|key| Record::Registration(Registration { withdrawn: true, ..key.clone() })).collect()
    }

    /// The registration keys.
    pub fn registrations(&self) -> impl Iterator<Item = &Registration> {
        self.registrations.values()
    }
}

//! The vault's papers: the authority with its sealed key, registrations of site servers, and
//! every certificate that was issued, so that it can be revoked. Rows of their own in the
//! store, beside the core's. This module must never sign anything, nor see the open key.

use std::collections::BTreeMap;

use farshore_pki::{MEMBER_LIFETIME, Registration, Revoked, Role, Serial};
use farshore_store::{Row, RowId};
use farshore_types::{RegistrationId, SiteId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// What the kinds of all these rows begin with: the core does not know them.
pub(crate) const PREFIX: &str = "pki.";
const AUTHORITY: &str = "pki.authority";
/// Key of the row of a kind that has one: a store takes no empty key.
const ONLY: &str = "only";
const REGISTRATION: &str = "pki.registration";
/// Seconds for which a certificate is known after its end: a month.
const ENDED_KEPT_SECS: i64 = 30 * 24 * 3600;
const ISSUED: &str = "pki.issued";
const PLACE: &str = "pki.place";
const OPERATION: &str = "pki.operation";
/// Milliseconds for which it is known what was done under an idempotency key: a day.
const OPERATIONS_KEPT_MS: u64 = 24 * 3600 * 1000;

/// What was done under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationPaper {
    pub(crate) key: String,
    /// What was asked for, in words of our own.
    pub(crate) asked: String,
    /// When, in milliseconds since the Unix epoch.
    pub(crate) at_ms: u64,
    pub(crate) done: Done,
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Done {
    /// A registration was made.
    Registered(RegistrationId),
    /// So many certificates were revoked.
    Revoked(usize),
}

/// The authority, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorityRow {
    /// Its certificate, PEM.
    pub(crate) cert_pem: String,
    /// Its key, sealed for the recovery key that people keep.
    pub(crate) sealed_for_recovery: String,
    /// Its key, sealed for the file that lets this vault start by itself.
    pub(crate) sealed_for_unlock: String,
    /// Number of its last list of revoked certificates.
    pub(crate) revoked_number: u64,
    /// The vault's id, which all its processes and what is restored of it have in common: by
    /// it members know it again. None in what was written before it was kept.
    #[serde(default)]
    pub(crate) vault: Option<Uuid>,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IssuedRow {
    /// Its number.
    pub(crate) serial: Serial,
    /// What its holder is.
    pub(crate) role: Role,
    /// The holder's id.
    pub(crate) holder: Uuid,
    /// The holder's name.
    pub(crate) name: String,
    /// When it ends, in seconds since the Unix epoch.
    pub(crate) until: i64,
    /// When it was revoked, in seconds since the Unix epoch.
    #[serde(default)]
    pub(crate) revoked: Option<i64>,
}

/// All of them, with the open transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Papers {
    rows: BTreeMap<(String, String), Vec<u8>>,
    /// What the open transaction has touched, as it was before.
    before: BTreeMap<(String, String), Option<Vec<u8>>>,
    /// Whether the next transaction is the first of a term that has to be learned for.
    pub(crate) first_of_term: bool,
}

impl Papers {
    /// Those of a store's rows that are papers.
    pub(crate) fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Papers {
        let papers = rows.into_iter().filter(|row| row.id.kind.starts_with(PREFIX));
        let pairs = papers.map(|row| ((row.id.kind.clone(), row.id.key.clone()), row.body.to_vec()));
        Papers { rows: pairs.collect(), ..Papers::default() }
    }

    pub(crate) fn authority(&self) -> Option<AuthorityRow> {
        self.get(AUTHORITY, ONLY)
    }

    pub(crate) fn put_authority(&mut self, row: &AuthorityRow) {
        self.put(AUTHORITY, ONLY.to_owned(), row);
    }

    /// The vault's id, by which members know it.
    pub(crate) fn vault_id(&self) -> Option<Uuid> {
        let noted = self.authority().and_then(|row| row.vault);
        let mut own: Vec<IssuedRow> = self.all(ISSUED);
        own.retain(|row| row.role == Role::Vault);
        noted.or_else(|| own.into_iter().max_by_key(|row| row.until).map(|row| row.holder))
    }

    /// Where hosts reach a site's server, as it said last.
    pub(crate) fn place_of(&self, site: SiteId) -> Option<String> {
        self.get(PLACE, &site.to_string())
    }

    /// Keeps where hosts reach a site's server.
    pub(crate) fn put_place(&mut self, site: SiteId, address: &str) {
        self.put(PLACE, site.to_string(), &address);
    }

    /// A registration, and the id that its holder is given, or for a host's the site.
    pub(crate) fn registration(&self, id: RegistrationId) -> Option<(Registration, Uuid)> {
        self.get(REGISTRATION, &id.0.to_string())
    }

    pub(crate) fn put_registration(&mut self, registration: &Registration, holder: Uuid) {
        self.put(REGISTRATION, registration.id.0.to_string(), &(registration, holder));
    }

    /// What was done under an idempotency key within the last day.
    pub(crate) fn operation(&self, key: &str, now_ms: u64) -> Option<OperationPaper> {
        let known: Option<OperationPaper> = self.get(OPERATION, key);
        known.filter(|known| now_ms.saturating_sub(known.at_ms) <= OPERATIONS_KEPT_MS)
    }

    pub(crate) fn put_operation(&mut self, done: &OperationPaper) {
        self.put(OPERATION, done.key.clone(), done);
    }

    /// Forgets registrations that nobody can use and asks about any more, and certificates that
    /// ended so long ago: no list of revoked ones names those.
    pub(crate) fn forget_old(&mut self, now_ms: u64) {
        let registrations: Vec<(Registration, Uuid)> = self.all(REGISTRATION);
        for (old, _) in registrations.iter().filter(|(one, _)| one.is_over(now_ms)) {
            self.remove(REGISTRATION, old.id.0.to_string());
        }
        let operations: Vec<OperationPaper> = self.all(OPERATION);
        for old in operations.iter().filter(|one| now_ms.saturating_sub(one.at_ms) > OPERATIONS_KEPT_MS) {
            self.remove(OPERATION, old.key.clone());
        }
        let before = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX).saturating_sub(ENDED_KEPT_SECS);
        let issued: Vec<IssuedRow> = self.all(ISSUED);
        // The vault's own ones say which vault this is.
        for old in issued.iter().filter(|row| row.role != Role::Vault && row.until < before) {
            self.remove(ISSUED, old.serial.to_string());
        }
    }

    /// After a restore: keys that nobody had used by the backup may have been used after it.
    pub(crate) fn withdraw_unused(&mut self) -> usize {
        let mut unused: Vec<(Registration, Uuid)> = self.all(REGISTRATION);
        unused.retain(|(registration, _)| registration.used.is_none() && !registration.withdrawn);
        for (registration, holder) in &mut unused {
            registration.withdrawn = true;
            self.put_registration(registration, *holder);
        }
        unused.len()
    }

    /// Notes that a certificate was revoked, also one that is not known here: it was issued
    /// after the backup that this store came out of. False where that was noted already.
    pub(crate) fn put_revoked(&mut self, serial: &Serial, now_secs: i64) -> bool {
        let known: Option<IssuedRow> = self.get(ISSUED, &serial.to_string());
        if known.as_ref().is_some_and(|row| row.revoked.is_some()) {
            return false;
        }
        let lasts = i64::try_from(MEMBER_LIFETIME.as_secs()).unwrap_or(i64::MAX);
        let unknown = || IssuedRow {
            serial: serial.clone(),
            role: Role::Host,
            holder: Uuid::nil(),
            name: "unknown: issued after the backup".to_owned(),
            // No certificate that exists lasts longer.
            until: now_secs.saturating_add(lasts),
            revoked: None,
        };
        self.put_issued(&IssuedRow { revoked: Some(now_secs), ..known.unwrap_or_else(unknown) });
        true
    }

    pub(crate) fn put_issued(&mut self, row: &IssuedRow) {
        self.put(ISSUED, row.serial.to_string(), row);
    }

    /// Every certificate that has not ended by itself.
    pub(crate) fn issued(&self, now_secs: i64) -> Vec<IssuedRow> {
        self.all(ISSUED).into_iter().filter(|row: &IssuedRow| row.until >= now_secs).collect()
    }

    /// What belongs into the list of revoked certificates.
    pub(crate) fn revoked(&self, now_secs: i64) -> Vec<Revoked> {
        let issued = self.issued(now_secs).into_iter();
        issued.filter_map(|row| Some(Revoked { at: row.revoked?, serial: row.serial })).collect()
    }

    /// What the open transaction has to write; none: the row is to go.
    pub(crate) fn changes(&self) -> Vec<(RowId, Option<Vec<u8>>)> {
        let body = |key: &(String, String)| self.rows.get(key).cloned();
        self.before.keys().map(|key| (RowId::new(key.0.clone(), key.1.clone()), body(key))).collect()
    }

    /// The open transaction was stored.
    pub(crate) fn commit(&mut self) {
        self.before.clear();
        self.first_of_term = false;
    }

    /// The open transaction was not stored.
    pub(crate) fn roll_back(&mut self) {
        for (key, before) in std::mem::take(&mut self.before) {
            match before {
                Some(body) => self.rows.insert(key, body),
                None => self.rows.remove(&key),
            };
        }
    }

    fn get<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Option<T> {
        let body = self.rows.get(&(kind.to_owned(), key.to_owned()))?;
        serde_json::from_slice(body)
            .inspect_err(|error| tracing::error!(kind, key, %error, "a row is damaged"))
            .ok()
    }

    fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let keys = self.rows.keys().filter(|(of, _)| of == kind);
        keys.filter_map(|(_, key)| self.get(kind, key)).collect()
    }

    fn put(&mut self, kind: &str, key: String, row: &impl Serialize) {
        // These rows are plain values: there is none that has no JSON.
        let Ok(body) = serde_json::to_vec(row) else { return };
        let key = (kind.to_owned(), key);
        let before = self.rows.insert(key.clone(), body);
        self.before.entry(key).or_insert(before);
    }

    fn remove(&mut self, kind: &str, key: String) {
        let key = (kind.to_owned(), key);
        let before = self.rows.remove(&key);
        self.before.entry(key).or_insert(before);
    }
}

#[cfg(test)]
mod tests {
    use farshore_pki::{Fingerprint, Identity};

    use super::*;

    fn authority(number: u64) -> AuthorityRow {
        AuthorityRow {
            cert_pem: "pem".into(),
            sealed_for_recovery: "a".into(),
            sealed_for_unlock: "b".into(),
            revoked_number: number,
            vault: None,
        }
    }

    #[test]
    fn a_row_of_before_ids_were_kept_is_read() {
        let old =
            r#"{"cert_pem":"pem","sealed_for_recovery":"a","sealed_for_unlock":"b","revoked_number":3}"#;
        assert_eq!(serde_json::from_str::<AuthorityRow>(old).unwrap(), authority(3));
    }

    #[test]
    fn what_was_revoked_after_a_backup_is_noted_though_it_is_not_known() {
        let (mut papers, serial) = (Papers::default(), "4a01".parse::<Serial>().unwrap());
        assert!(papers.put_revoked(&serial, 1000) && !papers.put_revoked(&serial, 2000));
        assert_eq!(papers.revoked(5000), [Revoked { serial, at: 1000 }]);
    }

    #[test]
    fn what_nobody_asks_about_any_more_is_forgotten_and_nothing_else() {
        const DAY: u64 = 24 * 3600 * 1000;
        let mut papers = Papers::default();
        let vault = Identity { role: Role::Vault, id: Uuid::nil(), name: "v".to_owned() };
        let days = |days: u64| std::time::Duration::from_secs(days * 24 * 3600);
        let make = |valid| Registration::make(Role::Site, &vault, "v:1", Fingerprint([0; 32]), 0, valid).1;
        let (old, new) = (make(days(5)), make(days(50)));
        [&old, &new].iter().for_each(|one| papers.put_registration(one, Uuid::nil()));
        let issued = |role, serial: &str| IssuedRow {
            serial: serial.parse().unwrap(),
            role,
            holder: Uuid::nil(),
            name: String::new(),
            until: 0,
            revoked: None,
        };
        papers.put_issued(&issued(Role::Host, "0a"));
        papers.put_issued(&issued(Role::Vault, "0b"));
        papers.commit();
        papers.forget_old(30 * DAY);
        assert_eq!(papers.changes(), [], "it is told for a month what became of them");
        papers.forget_old(36 * DAY);
        assert!(papers.registration(old.id).is_none() && papers.registration(new.id).is_some());
        let gone: Vec<_> = papers.changes().into_iter().map(|(id, body)| (id.kind, body)).collect();
        assert_eq!(gone, [(ISSUED.to_owned(), None), (REGISTRATION.to_owned(), None)]);
        assert_eq!(papers.vault_id(), Some(Uuid::nil()), "the vault knows who it is");
        papers.roll_back();
        assert!(papers.registration(old.id).is_some(), "what is not stored did not happen");
    }

    #[test]
    fn what_was_not_stored_is_as_it_was() {
        let mut papers = Papers::default();
        papers.put_authority(&authority(1));
        assert_eq!(papers.changes().len(), 1);
        papers.commit();
        papers.put_authority(&authority(2));
        papers.put_authority(&authority(3));
        assert_eq!((papers.authority(), papers.changes().len()), (Some(authority(3)), 1));
        papers.roll_back();
        assert_eq!((papers.authority(), papers.changes().len()), (Some(authority(1)), 0));
    }
}

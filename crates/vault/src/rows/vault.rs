//! The vault itself: its term, what it publishes, what it asks for, whom it lets in, and what
//! it has of its hosts in memory only.

use farshore_control::{
    Document, Learning, Term,
    report::HostReport,
    request::{Ending, Request},
};
use farshore_job::EffectId;
use farshore_policy::Policy;
use farshore_types::{HostId, MachineId, PolicyId, RequestId, SiteId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Answer;

/// The vault's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadRow {
    /// Its term.
    pub term: Term,
    /// Rises with every document that is written: what cursors count in.
    pub sequence: u64,
    /// Whether it has learned what its hosts hold, and may command (rule R6).
    pub learned: bool,
    /// A term that beats its own: it commands nothing any more.
    #[serde(default)]
    pub superseded: Option<Term>,
}

/// A document, and when it was written among all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRow {
    /// The document.
    pub document: Document,
    /// Its place in the order of writing; 0: it was learned and not written by this vault.
    pub sequence: u64,
}

/// A request to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRow {
    /// Its id.
    pub id: RequestId,
    /// To whom.
    pub host: HostId,
    /// About which machine, if any.
    #[serde(default)]
    pub machine: Option<MachineId>,
    /// What is asked.
    pub request: Request,
    /// How it ended.
    #[serde(default)]
    pub ending: Option<Ending>,
    /// Whether it is not wanted any more.
    #[serde(default)]
    pub withdrawn: bool,
    /// The step of a job that waits for it, if one does.
    #[serde(default)]
    pub effect: Option<EffectId>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Its id.
    pub id: PolicyId,
    /// Its name; unique.
    pub name: String,
    /// What it says.
    pub policy: Policy,
}

/// What a network of one site is at another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkMapRow {
    /// Where machines come from.
    pub from_site: SiteId,
    /// Where their replicas are.
    pub to_site: SiteId,
    /// The network there.
    pub from: String,
    /// The network here.
    pub to: String,
}

/// What a storage class of one site is at another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageMapRow {
    /// Where machines come from.
    pub from_site: SiteId,
    /// Where their replicas are.
    pub to_site: SiteId,
    /// The class there.
    pub from: String,
    /// The class here.
    pub to: String,
}

/// A token of the API. The token itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its id.
    pub id: Uuid,
    /// Its name; unique.
    pub name: String,
    /// BLAKE3 of the token, in hexadecimal.
    pub digest: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Until when it is valid, in milliseconds since the Unix epoch; none: until removed.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// Whether it came out of a backup, and nobody has said since that it still holds: it may
    /// have been removed after the backup.
    #[serde(default)]
    pub suspended: bool,
}

/// A command that was done under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRow {
    /// The key.
    pub key: String,
    /// Digest of the command.
    pub digest: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What was answered, without secrets.
    pub answer: Answer,
}

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustRow {
    /// Certificates of the authority, PEM.
    pub authority_pem: String,
    /// Its list of revoked certificates, PEM.
    pub revoked_pem: String,
    /// Number of that list; it only rises.
    pub revoked_number: u64,
}

/// What a host said last; in memory only, so that reports do not each cost a write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservedRow {
    /// Which host.
    pub host: HostId,
    /// When it was received, by [`Moment::mono_ms`](crate::Moment::mono_ms).
    pub mono_ms: u64,
    /// Milliseconds between what it says and when it was received.
    pub age_ms: u64,
    /// Milliseconds that its clock seems to be ahead of the vault's.
    pub skew_ms: i64,
    /// What it said, without inventory and documents.
    pub report: HostReport,
}

/// A machine that was seen to run on another host besides its own; in memory only: it is seen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectRow {
    /// Which machine.
    pub machine: MachineId,
    /// The other host.
    pub host: HostId,
    /// Since when, by [`Moment::mono_ms`](crate::Moment::mono_ms).
    pub since_ms: u64,
}

/// Who has spoken to this term; in memory only, and made anew at every start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearningRow {
    /// The rule.
    pub learning: Learning,
    /// Since when this vault listens, by [`Moment::mono_ms`](crate::Moment::mono_ms).
    pub since_ms: u64,
}

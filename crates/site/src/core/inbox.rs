//! What hosts report, merged on its way to the vault: of each host the newest report; outcomes,
//! inventories and documents stay until the vault has them. Bounded by the number of hosts and
//! by what one host may say. Pure; this module must never judge what a report says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farshore_control::{
    Document, HostReport, Inventory,
    report::ReportReply,
    request::{Ending, OUTCOMES_MAX, Outcome},
};
use farshore_types::RequestId;
use uuid::Uuid;

/// One host's reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Inbox {
    newest: Option<(Duration, HostReport)>,
    inventory: Option<(String, Inventory)>,
    /// Outcomes that the vault has not acknowledged.
    outcomes: BTreeMap<RequestId, Outcome>,
    /// Outcomes that it has, as long as the host goes on telling them.
    acknowledged: BTreeSet<RequestId>,
    /// Documents of the host that the vault asked for and does not have yet.
    documents: Vec<Document>,
    wants_documents: bool,
    /// Digest of the inventory that the vault has.
    vault_has: Option<String>,
    /// The report that the vault has.
    delivered: Option<(Uuid, u64)>,
    /// Something is to be told, even if no newer report came.
    due: bool,
}

/// What a report was that went up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    of: (Uuid, u64),
    inventory: Option<String>,
    documents: bool,
}

impl Inbox {
    /// Takes a report; false where it is of before the one that is held.
    pub(super) fn take(&mut self, mut report: HostReport, now: Duration) -> bool {
        if self
            .newest
            .as_ref()
            .is_some_and(|(_, held)| held.run == report.run && held.sequence >= report.sequence)
        {
            return false;
        }
        if let Some(inventory) = report.inventory.take() {
            self.inventory = Some((report.inventory_digest.clone(), inventory));
        }
        if !report.documents.is_empty() {
            self.documents = std::mem::take(&mut report.documents);
        }
        let told: BTreeSet<RequestId> = report.outcomes.iter().map(|outcome| outcome.id).collect();
        // What the host does not tell any more, it knows to be acknowledged.
        self.acknowledged.retain(|id| told.contains(id));
        for outcome in std::mem::take(&mut report.outcomes) {
            self.take_outcome(outcome);
        }
        self.newest = Some((now, report));
        true
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        let running = |outcome: &Outcome| matches!(outcome.result, Ending::Running { .. });
        let id = outcome.id;
        let known = self.acknowledged.contains(&id);
        let ended = self.outcomes.get(&id).is_some_and(|held| !running(held));
        if known || (ended && running(&outcome)) {
            return;
        }
        if self.outcomes.len() < OUTCOMES_MAX || self.outcomes.contains_key(&id) {
            self.outcomes.insert(id, outcome);
        }
        // What finds no room stays with the host, and comes again.
    }

    /// What is answered to the host.
    pub(super) fn reply(&self) -> ReportReply {
        let digest = self.newest.as_ref().map(|(_, report)| &report.inventory_digest);
        let has = |digest: &String| self.inventory.as_ref().is_some_and(|(held, _)| held == digest);
        ReportReply {
            wants_inventory: !digest.is_none_or(|digest| digest.is_empty() || has(digest)),
            wants_documents: self.wants_documents && self.documents.is_empty(),
            acknowledged: self.acknowledged.iter().copied().collect(),
        }
    }

    /// Whether the vault lacks something.
    pub(super) fn is_due(&self) -> bool {
        let newest = self.newest.as_ref().map(|(_, report)| (report.run, report.sequence));
        newest.is_some() && (self.due || newest != self.delivered)
    }

    /// The report that goes up, how many milliseconds ago it was received, and a note of it.
    pub(super) fn up(&self, now: Duration) -> Option<(u64, HostReport, Sent)> {
        let (received, report) = self.newest.as_ref()?;
        let mut report = report.clone();
        let inventory = self.inventory.as_ref().filter(|(digest, _)| self.vault_has.as_ref() != Some(digest));
        report.inventory =
            inventory.filter(|(digest, _)| *digest == report.inventory_digest).map(|(_, all)| all.clone());
        report.documents.clone_from(&self.documents);
        report.outcomes = self.outcomes.values().cloned().collect();
        let sent = Sent {
            of: (report.run, report.sequence),
            inventory: report.inventory.is_some().then(|| report.inventory_digest.clone()),
            documents: !self.documents.is_empty(),
        };
        let age = u64::try_from(now.saturating_sub(*received).as_millis()).unwrap_or(u64::MAX);
        Some((age, report, sent))
    }

    /// The vault answered.
    pub(super) fn delivered(&mut self, sent: Sent, reply: &ReportReply) {
        self.delivered = Some(sent.of);
        if let Some(digest) = sent.inventory.filter(|_| !reply.wants_inventory) {
            self.vault_has = Some(digest);
        }
        if reply.wants_inventory {
            self.vault_has = None;
        }
        if sent.documents {
            self.documents.clear();
        }
        self.wants_documents = reply.wants_documents;
        for id in &reply.acknowledged {
            // Told as running still, it was not what the vault acknowledged.
            if let Some(outcome) = self.outcomes.remove(id) {
                match outcome.result {
                    Ending::Running { .. } => drop(self.outcomes.insert(*id, outcome)),
                    _ => drop(self.acknowledged.insert(*id)),
                }
            }
        }
        let lacks = reply.wants_inventory && self.inventory.is_some();
        self.due = lacks;
    }

    /// Another vault speaks: what the one before had, this one may lack.
    pub(super) fn begin_anew(&mut self) {
        (self.vault_has, self.delivered) = (None, None);
    }
}

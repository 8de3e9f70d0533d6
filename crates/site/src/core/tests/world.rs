//! A site server with its journal, and things to tell it.

use std::{path::Path, sync::Arc, time::Duration};

use farshore_control::{
    Body, Document, HostReport, Key, Term, Version,
    request::{Action, Request},
    sync::{Cursor, Documents},
};
use farshore_sim::MemoryFiles;
use farshore_types::{Epoch, HostId, MachineId, RequestId, SiteId, VaultId};
use uuid::Uuid;

use crate::{Core, Journal};

pub(super) const HOST: HostId = HostId(Uuid::from_u128(1));
pub(super) const OTHER: HostId = HostId(Uuid::from_u128(2));
const SITE: SiteId = SiteId(Uuid::from_u128(9));

pub(super) struct Site {
    pub(super) core: Core,
    pub(super) files: MemoryFiles,
    pub(super) journal: Journal,
    runs: u32,
}

pub(super) fn term(number: u64) -> Term {
    Term { number, vault: VaultId(Uuid::from_u128(u128::from(number))) }
}

/// A document about a machine; what it says does not matter to a site server.
pub(super) fn document(machine: u128, generation: u64, hosts: &[HostId]) -> Document {
    let key = Key::Protection(MachineId(Uuid::from_u128(machine)));
    let body = Body::Removed { why: format!("generation {generation}"), owner: None };
    let version = Version { term: term(1), generation };
    Document::new(key, version, hosts.iter().copied().collect(), body)
}

pub(super) fn deletion(id: u128, hosts: &[HostId]) -> Document {
    let id = RequestId(Uuid::from_u128(id));
    let (machine, epoch) = (MachineId(Uuid::nil()), Epoch { number: 1, token: 1 });
    let request = Request { id, expires_ms: Some(1), action: Action::DeleteReplica { machine, epoch } };
    let version = Version { term: term(1), generation: 1 };
    let hosts = hosts.iter().copied().collect();
    Document::new(Key::Request(id), version, hosts, Body::Request(request))
}

pub(super) trait Of {
    /// The same, written in another term.
    fn of(self, term: Term) -> Document;
}

impl Of for Document {
    fn of(mut self, term: Term) -> Document {
        self.version.term = term;
        self
    }
}

pub(super) fn report(host: HostId, sequence: u64) -> HostReport {
    HostReport {
        host,
        run: Uuid::from_u128(77),
        sequence,
        urgent: false,
        agent_version: "1".to_owned(),
        clock_ms: 0,
        transit_ms: 0,
        certificate_until_ms: 0,
        inventory_digest: String::new(),
        inventory: None,
        space: Vec::new(),
        sources: Vec::new(),
        replicas: Vec::new(),
        lineages: Vec::new(),
        standings: Vec::new(),
        holds: [].into(),
        documents: Vec::new(),
        unclaimed: Vec::new(),
        outcomes: Vec::new(),
        problems: Vec::new(),
    }
}

impl Site {
    pub(super) fn new() -> Site {
        let files = MemoryFiles::new();
        let (journal, ..) = Journal::open(Arc::new(files.clone()), Path::new("/site")).unwrap();
        Site { core: Core::new(SITE, 1, Duration::ZERO), files, journal, runs: 1 }
    }

    /// As after a kill: what is not in the journal is gone.
    pub(super) fn restart(&mut self, now: Duration) {
        let (journal, records, opened) =
            Journal::open(Arc::new(self.files.clone()), Path::new("/site")).unwrap();
        assert_eq!(opened.torn, 0);
        self.runs += 1;
        self.journal = journal;
        self.core = Core::new(SITE, self.runs, now);
        records.into_iter().for_each(|record| self.core.apply(record, now));
        self.core.take_events();
    }

    /// Another machine takes its place, of which nothing is known.
    pub(super) fn lose_disk(&mut self, now: Duration) {
        self.files = MemoryFiles::new();
        self.restart(now);
    }

    /// An answer of the vault with everything that it had; false where it is not followed.
    pub(super) fn vault_says(&mut self, term: Term, documents: Vec<Document>, now: Duration) -> bool {
        self.answer(term, documents, false, now)
    }

    /// An answer after which there is more.
    pub(super) fn vault_says_more(&mut self, term: Term, documents: Vec<Document>, now: Duration) -> bool {
        self.answer(term, documents, true, now)
    }

    fn answer(&mut self, term: Term, documents: Vec<Document>, more: bool, now: Duration) -> bool {
        let documents = documents.into_iter().map(|document| document.of(term)).collect();
        let cursor = Cursor { term, sequence: 1 };
        let answer = Documents { term, cursor, documents, more, clock_ms: Some(1_000_000) };
        let Some(judged) = self.core.judge(answer, now) else { return false };
        self.journal.append(&judged.records).unwrap();
        self.core.take(judged, now);
        true
    }
}

//! A vault in memory, as an upstream of agents: documents by cursor, reports kept, answers
//! lost where a test wants that.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use farshore_agent::managed::{Upstream, UpstreamError};
use farshore_control::{
    Body, Document, HostReport, Key, Term, Version,
    report::ReportReply,
    request::{Ending, Outcome},
    sync::{Cursor, Documents, Poll},
};
use farshore_types::{HostId, RequestId, VaultId};
use tokio::sync::watch;
use uuid::Uuid;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Vault {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

struct State {
    term: Term,
    sequence: u64,
    documents: BTreeMap<Key, (u64, Document)>,
    raw: Vec<Document>,
    /// All that each host has said, oldest first: what only one report tells must not be missed.
    reports: BTreeMap<HostId, Vec<HostReport>>,
    inventories: Vec<String>,
    outcomes: BTreeMap<RequestId, Vec<Ending>>,
    away: bool,
    acknowledges: bool,
    /// Answers to reports that are still to be lost.
    lose: u32,
    clock_ms: Option<u64>,
    /// The term that each host asked with last.
    heard: BTreeMap<HostId, Option<Term>>,
}

impl State {
    fn last_of(&self, host: HostId) -> Option<&HostReport> {
        self.reports.get(&host)?.last()
    }
}

/// The vault as one agent meets it.
pub(crate) struct At {
    vault: Arc<Vault>,
    host: HostId,
}

fn term(number: u64) -> Term {
    Term { number, vault: VaultId(Uuid::from_u128(u128::from(number))) }
}

impl Vault {
    pub(crate) fn new() -> Arc<Vault> {
        let state = State {
            term: term(1),
            sequence: 0,
            documents: BTreeMap::new(),
            raw: Vec::new(),
            reports: BTreeMap::new(),
            inventories: Vec::new(),
            outcomes: BTreeMap::new(),
            away: false,
            acknowledges: true,
            lose: 0,
            clock_ms: Some(1_000_000),
            heard: BTreeMap::new(),
        };
        Arc::new(Vault { state: Mutex::new(state), changed: watch::channel(0).0 })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn at(self: &Arc<Self>, host: HostId) -> Arc<dyn Upstream> {
        Arc::new(At { vault: Arc::clone(self), host })
    }

    /// Writes a document of the next generation.
    pub(crate) fn put(&self, key: Key, hosts: &[HostId], body: Body) {
        let mut state = self.state();
        let generation = state.documents.get(&key).map_or(1, |(_, held)| held.version.generation + 1);
        let version = Version { term: state.term, generation };
        let hosts = hosts.iter().copied().collect();
        state.sequence += 1;
        let sequence = state.sequence;
        state.documents.insert(key.clone(), (sequence, Document::new(key, version, hosts, body)));
        drop(state);
        self.tell();
    }

    pub(crate) fn document(&self, key: &Key) -> Option<Document> {
        self.state().documents.get(key).map(|(_, document)| document.clone())
    }

    /// Serves a document just as it is, once, to whoever asks next.
    pub(crate) fn serve_raw(&self, document: Document) {
        let mut state = self.state();
        state.raw = vec![document];
        state.sequence += 1;
        drop(state);
        self.tell();
    }

    /// As a vault that was restored from an empty backup.
    pub(crate) fn forget_everything(&self) {
        self.state().documents.clear();
        self.rise();
    }

    /// Speaks with the next term; all documents are written anew.
    pub(crate) fn rise(&self) {
        let mut state = self.state();
        let next = term(state.term.number + 1);
        state.term = next;
        let mut sequence = state.sequence;
        for (at, document) in state.documents.values_mut() {
            sequence += 1;
            (*at, document.version) = (sequence, Version { term: next, ..document.version });
        }
        state.sequence = sequence;
        drop(state);
        self.tell();
    }

    /// Speaks with the term before: one that has not heard that it was superseded.
    pub(crate) fn speak_as_before(&self) {
        let mut state = self.state();
        state.term = term(state.term.number - 1);
        drop(state);
        self.tell();
    }

    pub(crate) fn be_away(&self, away: bool) {
        self.state().away = away;
        self.tell();
    }

    pub(crate) fn set_clock(&self, clock_ms: Option<u64>) {
        self.state().clock_ms = clock_ms;
        self.tell();
    }

    pub(crate) fn set_acknowledges(&self, acknowledges: bool) {
        self.state().acknowledges = acknowledges;
    }

    pub(crate) fn lose_answers(&self, count: u32) {
        self.state().lose = count;
    }

    /// All that was told of a request, progress left out.
    pub(crate) fn endings(&self, id: RequestId) -> Vec<Ending> {
        self.state().outcomes.get(&id).cloned().unwrap_or_default()
    }

    /// The first ending that is told of a request.
    pub(crate) async fn ending(&self, id: RequestId) -> Ending {
        self.wait("an outcome", |state| state.outcomes.get(&id).and_then(|told| told.first().cloned())).await
    }

    /// A report that was made after now.
    pub(crate) async fn report_of(&self, host: HostId) -> HostReport {
        let before = self.state().last_of(host).map(|report| (report.run, report.sequence));
        let later = |report: &HostReport| {
            before.is_none_or(|(run, sequence)| report.run != run || report.sequence > sequence + 1)
        };
        self.until(host, "another report", later).await
    }

    /// What a host said last.
    pub(crate) fn last_of(&self, host: HostId) -> Option<HostReport> {
        self.state().last_of(host).cloned()
    }

    /// The first report of a host that is as wanted, of its last one and those that come.
    pub(crate) async fn until(
        &self,
        host: HostId,
        what: &str,
        wanted: impl Fn(&HostReport) -> bool,
    ) -> HostReport {
        let before = self.state().reports.get(&host).map_or(0, |told| told.len().saturating_sub(1));
        self.first_after(before, host, what, wanted).await
    }

    /// The first report of a host that is as wanted, of all: where it is told once only, and that may
    /// have been before anybody waited for it.
    pub(crate) async fn until_ever(
        &self,
        host: HostId,
        what: &str,
        wanted: impl Fn(&HostReport) -> bool,
    ) -> HostReport {
        self.first_after(0, host, what, wanted).await
    }

    async fn first_after(
        &self,
        before: usize,
        host: HostId,
        what: &str,
        wanted: impl Fn(&HostReport) -> bool,
    ) -> HostReport {
        let first = |state: &State| {
            let told = state.reports.get(&host)?;
            told.iter().skip(before).find(|report| wanted(report)).cloned()
        };
        self.wait(what, first).await
    }

    /// Until a host has heard of the vault's term.
    pub(crate) async fn until_heard(&self, host: HostId) {
        self.report_of(host).await;
        self.wait("the term is known", |state| {
            (state.heard.get(&host) == Some(&Some(state.term))).then_some(())
        })
        .await;
    }

    async fn wait<T>(&self, what: &str, look: impl Fn(&State) -> Option<T>) -> T {
        let begun = std::time::Instant::now();
        loop {
            if let Some(found) = look(&self.state()) {
                return found;
            }
            if begun.elapsed() > PATIENCE {
                let last = |told: &Vec<HostReport>| told.last().cloned();
                let said: Vec<HostReport> = self.state().reports.values().filter_map(last).collect();
                panic!("never: {what}; {said:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl At {
    fn new_documents(&self, poll: &Poll) -> Option<Documents> {
        let mut state = self.vault.state();
        state.heard.insert(self.host, poll.term);
        let since =
            poll.cursor.filter(|cursor| cursor.term == state.term).map_or(0, |cursor| cursor.sequence);
        let mine = |document: &&Document| document.hosts.contains(&self.host);
        let fresh = state.documents.values().filter(|(at, _)| *at > since).map(|(_, document)| document);
        let mut documents: Vec<Document> = fresh.filter(mine).cloned().collect();
        documents.extend(std::mem::take(&mut state.raw));
        if documents.is_empty() && since == state.sequence {
            return None;
        }
        let cursor = Cursor { term: state.term, sequence: state.sequence };
        Some(Documents { term: state.term, cursor, documents, more: false, clock_ms: state.clock_ms })
    }

    /// What comes just now is not passed over: the cursor stays where it was.
    fn nothing_new(&self, poll: &Poll) -> Documents {
        let state = self.vault.state();
        let held = poll.cursor.filter(|cursor| cursor.term == state.term);
        let cursor = Cursor { term: state.term, sequence: held.map_or(0, |cursor| cursor.sequence) };
        Documents { term: state.term, cursor, documents: Vec::new(), more: false, clock_ms: state.clock_ms }
    }

    fn check_here(&self) -> Result<(), UpstreamError> {
        let away = || UpstreamError { peer: self.peer(), why: "it is away".to_owned() };
        if self.vault.state().away { Err(away()) } else { Ok(()) }
    }
}

#[async_trait]
impl Upstream for At {
    fn peer(&self) -> String {
        "the test's vault".to_owned()
    }

    async fn poll(&self, poll: &Poll) -> Result<Documents, UpstreamError> {
        let mut changed = self.vault.changed.subscribe();
        let wait = tokio::time::sleep(Duration::from_secs(poll.wait_secs));
        tokio::pin!(wait);
        loop {
            self.check_here()?;
            if let Some(documents) = self.new_documents(poll) {
                return Ok(documents);
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = &mut wait => return Ok(self.nothing_new(poll)),
            }
        }
    }

    async fn report(&self, report: &HostReport) -> Result<ReportReply, UpstreamError> {
        self.check_here()?;
        let mut state = self.vault.state();
        state.reports.entry(self.host).or_default().push(report.clone());
        if report.inventory.is_some() {
            state.inventories.push(report.inventory_digest.clone());
        }
        let ended = |outcome: &&Outcome| !matches!(outcome.result, Ending::Running { .. });
        let told: Vec<Outcome> = report.outcomes.iter().filter(ended).cloned().collect();
        let acknowledged = told.iter().map(|outcome| outcome.id).filter(|_| state.acknowledges).collect();
        for outcome in told {
            state.outcomes.entry(outcome.id).or_default().push(outcome.result);
        }
        if state.lose > 0 {
            state.lose -= 1;
            return Err(UpstreamError { peer: self.peer(), why: "the answer was lost".to_owned() });
        }
        Ok(ReportReply {
            wants_inventory: !state.inventories.contains(&report.inventory_digest),
            wants_documents: false,
            acknowledged,
        })
    }
}

//! The vault of the model: a life, documents made of it, and learning first.

use std::sync::Arc;

use farshore_control::{
    Body, Compression, Document, Endpoint, Holder, InitialCopy, Intent, KeepPoints, Key, Learning, Order,
    Protection, Settings, Term, Verdict, Version, Wire, learning::LEARN_MS,
};
use farshore_protection::{
    Facts, Input, Life, Operation, Order as Ordered, Reason, Report, Said, Seen, Speaks,
};
use farshore_types::{Epoch, HostId, VaultId};
use uuid::Uuid;

use crate::world::{Doc, MACHINE, Told, host, place};

/// What is in a backup or a warm copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) version: Version,
    pub(crate) life: Life,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Vault {
    /// Durable.
    pub(crate) life: Life,
    pub(crate) version: Version,
    published: Option<Arc<Doc>>,
    heard: [bool; 2],
    pub(crate) learned: bool,
    pub(crate) superseded: bool,
    /// In memory.
    pub(crate) waited: bool,
    pub(crate) told: [Option<Arc<Told>>; 2],
}

fn term(number: u64, vault: u128) -> Term {
    Term { number, vault: VaultId(Uuid::from_u128(vault)) }
}

impl Vault {
    pub(crate) fn begin(life: Life) -> Vault {
        let version = Version { term: term(1, 1), generation: 0 };
        let told = [None, None];
        let (heard, learned, superseded, waited) = ([true; 2], true, false, false);
        Vault { life, version, published: None, heard, learned, superseded, waited, told }
    }

    /// Promoted or restored: another vault, of a higher term, which learns first (R6).
    pub(crate) fn again(kept: &Kept, id: u128) -> Vault {
        let term = term(kept.version.term.number + 1, id);
        let version = Version { term, generation: kept.version.generation };
        Vault { version, heard: [false; 2], learned: false, ..Vault::begin(kept.life.clone()) }
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept { version: self.version, life: self.life.clone() }
    }

    fn learning(&self) -> Learning {
        let mut learning = Learning::begin([host(0), host(1)], 0);
        (0..2).filter(|at| self.heard[*at]).for_each(|at| learning.heard(host(at)));
        learning
    }

    fn now(&self) -> u64 {
        if self.waited { LEARN_MS } else { 0 }
    }

    pub(crate) fn may_issue(&self) -> bool {
        let learned = self.learned || self.learning().may_issue(self.now());
        learned && !self.superseded
    }

    /// The document, written anew where the life wants something else than it says.
    pub(crate) fn publish(&mut self) -> Option<Arc<Doc>> {
        if !self.may_issue() {
            return None;
        }
        self.learned = true;
        if self.published.as_ref().is_none_or(|doc| doc.life != self.life) {
            self.version = self.version.next(self.version.term);
            self.published = Some(Arc::new(Doc { version: self.version, life: self.life.clone() }));
        }
        self.published.clone()
    }

    /// What a host of a site is given.
    pub(crate) fn doc_for(&mut self, at: usize) -> Option<Arc<Doc>> {
        let speaks = self.learning().may_speak_to(host(at));
        speaks.then(|| self.publish()).flatten()
    }

    /// Takes what a host has told its site server.
    pub(crate) fn hears(&mut self, at: usize, told: &Arc<Told>) {
        if let Some(doc) = &told.doc {
            self.hears_term(doc.version.term);
        }
        if self.superseded {
            return;
        }
        if !self.heard[at] {
            self.learns(told);
            self.heard[at] = true;
        }
        self.told[at] = Some(Arc::clone(told));
        let other = self.told[1 - at].clone().map(|told| self.said(1 - at, &told));
        let said = self.said(at, told);
        for event in self.life.news_of(&said, other.as_ref()) {
            let report = Report { epoch: told.lineage.epoch, event };
            let facts = self.facts([true; 2]);
            self.life = self.life.step(&Input::Report(report), &facts).unwrap().life;
        }
        self.publish();
    }

    pub(crate) fn hears_term(&mut self, heard: Term) {
        if !matches!(self.version.term.order_of(&heard), Order::Newer | Order::Conflict) {
            return;
        }
        if self.learned {
            self.superseded = true;
        } else {
            self.version.term.number = heard.number + 1;
        }
    }

    /// A newer document that a host holds beats what this vault knows.
    fn learns(&mut self, told: &Told) {
        let Some(doc) = &told.doc else { return };
        if doc.version.generation > self.version.generation && self.published.is_none() {
            self.life = doc.life.clone();
            self.version.generation = doc.version.generation;
        }
    }

    fn said(&self, at: usize, told: &Told) -> Said {
        Said {
            host: host(at),
            lineage: told.lineage.clone(),
            runs: told.runs,
            brought_up: told.brought_up,
            current: told
                .doc
                .as_ref()
                .is_some_and(|doc| doc.version == self.version && doc.life == self.life),
            cannot_run: None,
            adopted: told.adopted.then_some(true),
        }
    }

    pub(crate) fn facts(&self, reach: [bool; 2]) -> Facts {
        let seen = |of: HostId| {
            let told = self.told[place(of)].as_ref().filter(|_| reach[place(of)]);
            let (reachable, runs) = (reach[place(of)], told.map(|told| told.runs));
            Seen { reachable, runs, stands_against: None, could_not_start: None }
        };
        let target = self.told[place(self.life.target)].as_ref();
        let epochs = |told: &Told| [Some(told.lineage.epoch), told.lineage.conflict];
        let known: Vec<Epoch> = self.told.iter().flatten().flat_map(|told| epochs(told)).flatten().collect();
        Facts {
            speaks: match (self.superseded, self.may_issue()) {
                (true, _) => Speaks::Superseded,
                (_, true) => Speaks::Yes,
                _ => Speaks::Learning,
            },
            source: seen(self.life.source),
            target: seen(self.life.target),
            whole_point: target.is_some_and(|told| told.whole_point),
            not_current: None,
            known,
        }
    }

    pub(crate) fn order(
        &mut self,
        operation: Operation,
        winner: usize,
        token: u128,
        reach: [bool; 2],
    ) -> Result<(), Reason> {
        let hosts = [host(0), host(1)];
        if !self.learning().may_issue_for(&hosts, self.now()) && !self.learned {
            return Err(Reason { code: "learning".into(), what: "learning".into(), advice: "wait".into() });
        }
        let mut order = Ordered::confirmed_at(operation, self.life.version, token);
        order.winner = Some(host(winner));
        let facts = self.facts(reach);
        self.life = self.life.step(&Input::Order(Box::new(order)), &facts)?.life;
        self.publish();
        Ok(())
    }
}

/// Whether a document is taken by one that holds another, and knows an epoch: by `Holder`.
pub(crate) fn takes(held: Option<&Doc>, known: Option<&Epoch>, arriving: &Doc) -> Verdict {
    let mut holder = Holder::restored(held.map(document));
    holder.take(&document(arriving), known)
}

fn document(doc: &Doc) -> Document {
    let wanted = doc.wanted();
    let end = |host| Endpoint { host, name: String::new(), address: String::new() };
    let retention = KeepPoints { every_point_secs: 0, hourly_secs: 0, daily_secs: 0, points_max: 1 };
    let settings = Settings {
        copy_frequency_secs: 30,
        app_consistent_secs: None,
        retention,
        compression: Compression::Auto,
        replica_compression: true,
        small_writes: true,
        wire: Wire::Certificate,
        bandwidth: None,
        bandwidth_windows: Vec::new(),
        resync_window: None,
    };
    let body = Protection {
        machine: MACHINE,
        name: String::new(),
        epoch: wanted.epoch,
        source: end(wanted.owner),
        target: end(wanted.other),
        intent: Intent::Replicate,
        initial: InitialCopy::Now,
        resync: 0,
        excluded: Default::default(),
        settings,
        place: None,
        networks: Default::default(),
        networks_back: Default::default(),
        addresses: Vec::new(),
        twin: None,
        life: Some(doc.life.clone()),
    };
    Document::new(
        Key::Protection(MACHINE),
        doc.version,
        [wanted.owner, wanted.other].into(),
        Body::Protection(Box::new(body)),
    )
}

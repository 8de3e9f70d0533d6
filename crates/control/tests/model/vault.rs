//! The vault of the model: a life, documents made of it, and learning first.

use std::{collections::BTreeMap, sync::Arc};

use farshore_control::{
    Body, Compression, Document, Endpoint, Holder, InitialCopy, Intent, KeepPoints, Key, Learning, Order,
    Protection, Settings, Term, Verdict, Version, Wire, decided, learning::LEARN_MS,
};
use farshore_protection::{
    Copying, DrillPhase, Event, Facts, Flat, Input, Life, Operation, Order as Ordered, Reason, Report, Said,
    Seen, Speaks, Stage,
};
use farshore_types::{Epoch, EpochOrder, HostId, PointId, VaultId};
use uuid::Uuid;

use crate::world::{Doc, MACHINE, Told, host, place};

/// The point of a drill, of which nothing is asked here.
const POINT: PointId = PointId { epoch: 1, number: 1 };

/// What is in a backup or a warm copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    pub(crate) version: Version,
    pub(crate) life: Life,
    pub(crate) doc: Option<Arc<Doc>>,
    pub(crate) known: (Epoch, HostId),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Vault {
    /// Durable.
    pub(crate) life: Life,
    pub(crate) version: Version,
    pub(crate) doc: Option<Arc<Doc>>,
    /// Whether that is of before, or was learned: it is written anew before anybody gets it.
    of_before: bool,
    /// The highest epoch that it has heard of, and whose that is.
    known: (Epoch, HostId),
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
        let (heard, learned, superseded, waited) = ([true; 2], true, false, false);
        let (known, told) = ((life.epoch, life.source), [None, None]);
        let (doc, of_before) = (None, false);
        Vault { life, version, doc, of_before, known, heard, learned, superseded, waited, told }
    }

    /// Promoted or restored: another vault, of a higher term, which learns first (R6).
    pub(crate) fn again(kept: &Kept, id: u128) -> Vault {
        let term = term(kept.version.term.number + 1, id);
        let version = Version { term, generation: kept.version.generation };
        let (doc, of_before, known) = (kept.doc.clone(), true, kept.known);
        let (heard, learned) = ([false; 2], false);
        Vault { version, doc, of_before, known, heard, learned, ..Vault::begin(kept.life.clone()) }
    }

    pub(crate) fn kept(&self) -> Kept {
        let (version, life, doc) = (self.version, self.life.clone(), self.doc.clone());
        Kept { version, life, doc, known: self.known }
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
        let newest = |doc: &Arc<Doc>| doc.version.term == self.version.term && doc.life == self.life;
        if self.of_before || !self.doc.as_ref().is_some_and(newest) {
            self.version = self.version.next(self.version.term);
            let mut new = Doc::new(self.version, self.life.clone(), BTreeMap::new());
            if let Some(before) = &self.doc {
                let decided = document(&new).after(&document(before)).decided;
                new = Doc::new(new.version, new.life, decided);
            }
            (self.doc, self.of_before) = (Some(Arc::new(new)), false);
        }
        self.doc.clone()
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
        if self.known.0.order_of(&told.lineage.epoch) == EpochOrder::Newer {
            self.known = (told.lineage.epoch, told.lineage.owner);
        }
        self.told[at] = Some(Arc::clone(told));
        let other = self.told[1 - at].clone().map(|told| self.said(1 - at, &told));
        let said = self.said(at, told);
        for event in self.life.news_of(&said, other.as_ref()) {
            self.happens(&Report { epoch: told.lineage.epoch, event });
        }
        for event in self.beside(at, told).into_iter().flatten() {
            self.happens(&Report { epoch: self.life.epoch, event });
        }
        self.publish();
    }

    fn happens(&mut self, report: &Report) {
        self.life = self.life.hear(report).life;
    }

    /// What a host says of what goes beside the machine: cycles, the copy of a test failover, disks
    /// that are flattened.
    fn beside(&self, at: usize, told: &Told) -> [Option<Event>; 3] {
        let (life, me) = (&self.life, host(at));
        let current = self.said(at, told).current;
        let synced = me == life.source && told.synced == Some((life.epoch, life.copying));
        let copying = match life.copying {
            Copying::Seeding if synced => Some(Event::FirstPoint),
            Copying::Resync if synced => Some(Event::Resynced),
            _ => None,
        };
        let drill = match (&life.drill, told.copy) {
            _ if !current => None,
            (None, Some(order)) => Some(Event::DrillFound { host: me, order, at: POINT, until_ms: None }),
            (Some(drill), copy) if drill.host == Some(me) => match (drill.phase, copy == Some(drill.order)) {
                (DrillPhase::Opening, true) => Some(Event::DrillRuns),
                (DrillPhase::CleaningUp, false) => Some(Event::DrillGone),
                _ => None,
            },
            _ => None,
        };
        let flat = life.flat == Flat::Flattening && me == life.source && current && told.flat;
        [copying, drill, flat.then_some(Event::Flattened)]
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

    /// What was decided last counts, of each part of the document: this vault's own word, or what
    /// a host that speaks to it for the first time holds. As `vault/core/adopt` has it.
    fn learns(&mut self, told: &Told) {
        let Some(theirs) = &told.doc else { return };
        let own = self.doc.as_deref().map(document);
        if !decided::may_tell(own.as_ref().map(|own| &own.version), &theirs.version) {
            return;
        }
        let theirs = document(theirs);
        let united = own.as_ref().map_or_else(|| theirs.clone(), |own| own.united(&theirs));
        let known = own.as_ref().is_some_and(|own| own.body == united.body);
        if known && own.is_some_and(|own| own.is_decided_as(&united)) {
            return;
        }
        if !known {
            self.adopts(&united.body);
        }
        let (version, decided, life) = (united.version, united.decided, self.life.clone());
        self.version.generation = version.generation;
        (self.doc, self.of_before) = (Some(Arc::new(Doc::new(version, life, decided))), true);
    }

    fn adopts(&mut self, body: &Body) {
        let Body::Protection(body) = body else {
            self.life = self.life.ended();
            return;
        };
        self.life = decided::learned_life(body, Some(&self.life));
        // What was written before the owner changed does not change it back (rule R2).
        let (epoch, owner) = self.known;
        if epoch.number > self.life.epoch.number {
            let event = Event::Owned { epoch, owner, alone: false, twice: false };
            self.happens(&Report { epoch: self.life.epoch, event });
        }
    }

    fn said(&self, at: usize, told: &Told) -> Said {
        Said {
            host: host(at),
            lineage: told.lineage.clone(),
            runs: told.runs,
            brought_up: told.brought_up,
            current: self
                .doc
                .as_ref()
                .filter(|newest| newest.life == self.life)
                .is_some_and(|newest| told.doc.as_ref().is_some_and(|doc| doc.version == newest.version)),
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
        let told = self.told.iter().flatten().flat_map(|told| epochs(told)).flatten();
        let known: Vec<Epoch> = told.chain([self.known.0]).collect();
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

    /// Whether an operation is allowed, looked at before a world is copied for it.
    pub(crate) fn may_be_ordered(&self, operation: Operation, reach: [bool; 2]) -> bool {
        self.life.judge(&self.facts(reach), operation).is_allowed()
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
    let hosts = [wanted.owner, wanted.other].into();
    if doc.life.stage == Stage::Disabled {
        let body = Body::Removed { why: String::new(), owner: Some((wanted.epoch, wanted.owner)) };
        let ended = Document::new(Key::Protection(MACHINE), doc.version, hosts, body);
        return Document { decided: doc.decided.clone(), ..ended };
    }
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
    let body = Body::Protection(Box::new(body));
    let document = Document::new(Key::Protection(MACHINE), doc.version, hosts, body);
    Document { decided: doc.decided.clone(), ..document }
}

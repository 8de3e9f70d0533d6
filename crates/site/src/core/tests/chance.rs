//! Whatever is lost, doubled, late or killed: in the end every host has its newest documents,
//! and the vault every outcome; nothing ever goes back. Beside it a model that is told the
//! truth at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use farshore_control::{
    Document, Key, Version,
    report::ReportReply,
    request::{Answer, Ending, Outcome},
    sync::{Cursor, Poll, SiteReply},
};
use farshore_types::{HostId, RequestId};
use proptest::prelude::*;
use uuid::Uuid;

use super::world::{HOST, OTHER, Site, document, report, term};

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The vault changes the document of a machine.
    Change(u8),
    /// The site server asks the vault; the answer arrives or not.
    Fetch { lost: bool },
    /// A host asks; the answer arrives or not.
    Ask { host: bool, lost: bool },
    /// A host has done something, and keeps telling until it is acknowledged.
    Do { host: bool },
    /// A host reports; the report arrives once, twice, or not, and the answer or not.
    Report { host: bool, times: u8, lost: bool },
    /// The site server reports up.
    Up { lost: bool, answer_lost: bool },
    /// The site server is killed and started.
    Restart,
    /// A vault with a higher term speaks.
    Promote,
}

#[derive(Default)]
struct Agent {
    cursor: Option<Cursor>,
    holds: BTreeMap<Key, Version>,
    outcomes: BTreeSet<RequestId>,
    sequence: u64,
}

struct World {
    site: Site,
    term: u64,
    /// The vault's documents, and its count of when each was changed.
    truth: BTreeMap<Key, (u64, Document)>,
    count: u64,
    agents: [Agent; 2],
    done: BTreeSet<RequestId>,
    /// What the vault was told.
    known: BTreeSet<RequestId>,
    now: Duration,
}

fn host(index: usize) -> HostId {
    if index == 0 { HOST } else { OTHER }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lost = || prop::bool::weighted(0.3);
    prop::collection::vec(
        prop_oneof![
            3 => (0..4_u8).prop_map(Step::Change),
            3 => lost().prop_map(|lost| Step::Fetch { lost }),
            3 => (any::<bool>(), lost()).prop_map(|(host, lost)| Step::Ask { host, lost }),
            2 => any::<bool>().prop_map(|host| Step::Do { host }),
            3 => (any::<bool>(), 0..3_u8, lost())
                .prop_map(|(host, times, lost)| Step::Report { host, times, lost }),
            2 => (lost(), lost()).prop_map(|(lost, answer_lost)| Step::Up { lost, answer_lost }),
            1 => Just(Step::Restart),
            1 => Just(Step::Promote),
        ],
        0..80,
    )
}

impl World {
    fn new() -> World {
        World {
            site: Site::new(),
            term: 1,
            truth: BTreeMap::new(),
            count: 0,
            agents: [Agent::default(), Agent::default()],
            done: BTreeSet::new(),
            known: BTreeSet::new(),
            now: Duration::ZERO,
        }
    }

    fn step(&mut self, step: Step) {
        self.now += Duration::from_secs(1);
        match step {
            Step::Change(machine) => self.change(machine),
            Step::Fetch { lost } => self.fetch(lost),
            Step::Ask { host, lost } => self.ask(usize::from(host), lost),
            Step::Do { host } => {
                let id = RequestId(Uuid::from_u128(self.done.len() as u128 + 1));
                self.done.insert(id);
                self.agents[usize::from(host)].outcomes.insert(id);
            }
            Step::Report { host, times, lost } => self.report(usize::from(host), times, lost),
            Step::Up { lost, answer_lost } => self.up(lost, answer_lost),
            Step::Restart => self.site.restart(self.now),
            Step::Promote => {
                self.term += 1;
                for (at, document) in self.truth.values_mut() {
                    self.count += 1;
                    (*at, document.version.term) = (self.count, term(self.term));
                }
            }
        }
    }

    fn change(&mut self, machine: u8) {
        let key = document(u128::from(machine), 1, &[]).key;
        let generation = self.truth.get(&key).map_or(0, |(_, d)| d.version.generation) + 1;
        let hosts = if machine.is_multiple_of(2) { &[HOST][..] } else { &[HOST, OTHER][..] };
        let mut changed = document(u128::from(machine), generation, hosts);
        changed.version.term = term(self.term);
        self.count += 1;
        self.truth.insert(key, (self.count, changed));
    }

    fn fetch(&mut self, lost: bool) {
        if lost {
            return self.site.core.vault_failed();
        }
        let term = term(self.term);
        let cursor = self.site.core.question(0).cursor.filter(|cursor| cursor.term == term);
        let since = cursor.map_or(0, |cursor| cursor.sequence);
        let fresh = self.truth.values().filter(|(at, _)| *at > since).map(|(_, document)| document.clone());
        let cursor = Cursor { term, sequence: self.count };
        let documents = fresh.collect();
        let answer =
            farshore_control::sync::Documents { term, cursor, documents, more: false, clock_ms: Some(1) };
        let judged = self.site.core.judge(answer, self.now).expect("no term falls");
        assert!(judged.refused.is_empty(), "{:?}", judged.refused);
        self.site.journal.append(&judged.records).unwrap();
        self.site.core.take(judged, self.now);
        if self.site.journal.is_due() || self.count.is_multiple_of(7) {
            let records = self.site.core.records();
            self.site.journal.rewrite(&records).unwrap();
        }
    }

    fn ask(&mut self, index: usize, lost: bool) {
        let agent = &mut self.agents[index];
        let poll = Poll { cursor: agent.cursor, term: None, wait_secs: 0 };
        let Some(answer) = self.site.core.poll(host(index), &poll, self.now) else { return };
        if lost {
            return;
        }
        agent.cursor = Some(answer.cursor);
        for document in answer.documents {
            assert!(document.hosts.contains(&host(index)));
            let held = agent.holds.insert(document.key, document.version);
            let newer = |held: Version| {
                matches!(
                    held.order_of(&document.version),
                    farshore_control::Order::Newer | farshore_control::Order::Same
                )
            };
            assert!(held.is_none_or(newer), "went back to {:?}", document.version);
        }
    }

    fn report(&mut self, index: usize, times: u8, lost: bool) {
        let agent = &mut self.agents[index];
        agent.sequence += 1;
        let mut told = report(host(index), agent.sequence);
        let result = Ending::Done { answer: Answer::Done };
        let outcome = |id: &RequestId| Outcome { id: *id, host: host(index), result: result.clone() };
        told.outcomes = agent.outcomes.iter().map(outcome).collect();
        for _ in 0..times {
            let reply = self.site.core.take_report(host(index), told.clone(), self.now).unwrap();
            if !lost {
                for id in reply.acknowledged {
                    assert!(self.known.contains(&id), "acknowledged before the vault had it");
                    self.agents[index].outcomes.remove(&id);
                }
            }
        }
    }

    fn up(&mut self, lost: bool, answer_lost: bool) {
        let reports = self.site.core.report(500, self.now);
        if lost {
            return;
        }
        let mut hosts = Vec::new();
        for (_, report) in reports {
            let acknowledged: Vec<RequestId> = report.outcomes.iter().map(|outcome| outcome.id).collect();
            self.known.extend(&acknowledged);
            hosts.push((report.host, ReportReply { acknowledged, ..ReportReply::default() }));
        }
        if !answer_lost {
            self.site.core.reported(&SiteReply { term: term(self.term), hosts });
        }
    }

    /// Everything works from now on.
    fn calm(&mut self) {
        self.fetch(false);
        for index in 0..2 {
            self.ask(index, false);
            for _ in 0..2 {
                self.report(index, 1, false);
                self.up(false, false);
            }
            self.report(index, 1, false);
        }
    }

    fn check(&self) {
        for (index, agent) in self.agents.iter().enumerate() {
            for (key, (_, document)) in &self.truth {
                if document.hosts.contains(&host(index)) {
                    assert_eq!(agent.holds.get(key), Some(&document.version), "host {index}");
                }
            }
            assert!(agent.outcomes.is_empty(), "host {index} still tells {:?}", agent.outcomes);
        }
        assert_eq!(self.known, self.done);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn in_the_end_everybody_knows_everything_and_nothing_went_back(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.calm();
        world.check();
    }
}

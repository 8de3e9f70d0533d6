//! Random stories of commands, reports, deliveries, crashes, restores and people who break the
//! glass; what must hold after each step of any of them.

use std::collections::{BTreeMap, BTreeSet};

use farshore_control::{Body, Document, Key, Verdict};
use farshore_policy::{Change, OnDisable, PolicyPatch};
use farshore_types::{HostId, MachineId};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::world::{Stored, World, id, machine};
use crate::{
    Bug, Command, Core, Enable, Maintenance, Start,
    rows::{About, JobRow},
};

#[derive(Clone, Debug)]
enum Step {
    Enable(u128),
    Disable(u128),
    /// Disables, and deletes the replica.
    Delete(u128, bool),
    Pause(u128, bool),
    Resync(u128),
    /// Cancels an open job.
    Cancel(usize),
    /// Moves the replica, and deletes the old one.
    Move(u128, bool),
    Forget(u128, bool),
    Frequency(u64),
    Maintenance(usize, bool),
    Rename(usize, u8),
    Report(usize, bool),
    Deliver(usize),
    Tick(u64),
    Appear(usize, u128),
    Vanish(usize),
    BreakGlass(usize, u128),
    /// The next transaction is not stored.
    FailedCommit(usize),
    Restart,
    Backup,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let machine = 1u128..=4;
    prop_oneof![
        4 => machine.clone().prop_map(Step::Enable),
        1 => machine.clone().prop_map(Step::Disable),
        2 => (machine.clone(), any::<bool>()).prop_map(|(n, force)| Step::Delete(n, force)),
        1 => (machine.clone(), any::<bool>()).prop_map(|(n, on)| Step::Pause(n, on)),
        1 => machine.clone().prop_map(Step::Resync),
        2 => (0usize..8).prop_map(Step::Cancel),
        2 => (machine.clone(), any::<bool>()).prop_map(|(n, delete)| Step::Move(n, delete)),
        1 => (machine.clone(), any::<bool>()).prop_map(|(n, force)| Step::Forget(n, force)),
        1 => (1u64..100).prop_map(Step::Frequency),
        1 => (0usize..4, any::<bool>()).prop_map(|(host, on)| Step::Maintenance(host, on)),
        1 => (0usize..4, 0u8..3).prop_map(|(host, n)| Step::Rename(host, n)),
        8 => (0usize..4, any::<bool>()).prop_map(|(host, whole)| Step::Report(host, whole)),
        6 => (0usize..2).prop_map(Step::Deliver),
        1 => (0u64..30).prop_map(Step::Tick),
        1 => (0usize..4, machine.clone()).prop_map(|(host, n)| Step::Appear(host, n)),
        1 => (0usize..4).prop_map(Step::Vanish),
        4 => (0usize..4, machine).prop_map(|(host, n)| Step::BreakGlass(host, n)),
        2 => (0usize..4).prop_map(Step::FailedCommit),
        1 => Just(Step::Restart),
        1 => Just(Step::Backup),
        1 => Just(Step::Restore),
    ]
}

struct Story {
    world: World,
    backup: Stored,
    /// Machines whose protection somebody has ever disabled.
    disabled: BTreeSet<MachineId>,
    /// Machines whose protection was ever enabled and stored.
    enabled: BTreeSet<MachineId>,
    /// The highest epoch of each machine that this run of the vault was told by each host.
    told: BTreeMap<(HostId, MachineId), u64>,
    /// Hosts that have told this term everything.
    heard: BTreeSet<HostId>,
    /// Machines whose replica somebody has ever ordered to be deleted.
    delete: BTreeSet<MachineId>,
    token: u128,
    bug: Option<Bug>,
    seen: Seen,
}

/// How often what the stories are about has really happened.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    given_after_restore: usize,
    adopted: usize,
    turned_round: usize,
    withheld: usize,
    deleted: usize,
    low_epochs: usize,
    lost_transactions: usize,
    cancelled: usize,
    moved: usize,
}

impl Seen {
    fn all(&self) -> [usize; 9] {
        let Seen { given_after_restore, adopted, turned_round, withheld, deleted, .. } = *self;
        let first = [given_after_restore, adopted, turned_round, withheld, deleted];
        let [a, b, c, d, e] = first;
        [a, b, c, d, e, self.low_epochs, self.lost_transactions, self.cancelled, self.moved]
    }
}

impl Story {
    fn new(bug: Option<Bug>) -> Story {
        let mut world = World::new();
        if let Some(bug) = bug {
            world.core = world.core.clone().with_bug(bug);
        }
        world.agents.values_mut().for_each(|agent| agent.obeys = true);
        let (backup, heard) = (world.stored.clone(), world.hosts.iter().copied().collect());
        let (disabled, enabled, told) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let (delete, seen) = (BTreeSet::new(), Seen::default());
        Story { world, backup, disabled, enabled, told, heard, delete, token: 1, bug, seen }
    }

    fn command(&mut self, command: &Command) -> bool {
        let at = self.world.moment();
        let before = self.world.core.clone();
        let done = self.world.core.run(command, None, &at);
        if done.is_err() {
            assert_eq!(self.world.core, before, "what fails changes nothing");
        }
        self.world.commit();
        done.is_ok()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Enable(n) => {
                if self.command(&Command::Enable(Enable { machines: vec![id(n)], ..Enable::default() })) {
                    self.enabled.insert(id(n));
                }
            }
            Step::Disable(n) => {
                if self.command(&Command::Disable { machine: id(n), replica: None, force: false }) {
                    self.disabled.insert(id(n));
                }
            }
            Step::Delete(n, force) => {
                let replica = Some(OnDisable::Delete);
                if self.command(&Command::Disable { machine: id(n), replica, force }) {
                    self.disabled.insert(id(n));
                    self.delete.insert(id(n));
                }
            }
            Step::Pause(n, paused) => drop(self.command(&Command::SetPaused { machine: id(n), paused })),
            Step::Cancel(n) => self.cancel(n),
            Step::Move(n, delete_old) => {
                if self.command(&Command::MoveReplica { machine: id(n), to: None, delete_old }) {
                    self.seen.moved += 1;
                }
            }
            Step::Forget(n, force) => {
                if self.command(&Command::Forget { machine: id(n), force }) {
                    self.disabled.insert(id(n));
                }
            }
            Step::Resync(n) => drop(self.command(&Command::Resync { machine: id(n) })),
            Step::Frequency(secs) => {
                let settings =
                    PolicyPatch { copy_frequency_secs: Change::Set(secs), ..PolicyPatch::default() };
                self.command(&Command::ChangePolicy { policy: self.world.policy, settings });
            }
            Step::Maintenance(host, on) => {
                let (host, how) = (self.world.hosts[host], Maintenance::default());
                self.command(&Command::SetMaintenance { host, on, how });
            }
            Step::Rename(host, n) => {
                let (host, name) = (self.world.hosts[host], format!("host {host}-{n}"));
                self.command(&Command::RenameHost { host, name });
            }
            Step::Report(host, whole) => self.report(host, whole),
            Step::Deliver(site) => self.deliver(site),
            Step::Tick(secs) => self.world.wait(secs * 1000),
            Step::Appear(host, n) => {
                let machines = &mut self.world.agent(host).machines;
                if machines.iter().all(|facts| facts.id != id(n)) {
                    machines.push(machine(n));
                }
            }
            Step::Vanish(host) => drop(self.world.agent(host).machines.pop()),
            Step::BreakGlass(host, n) => {
                self.token += 1;
                let token = self.token;
                self.world.agent(host).break_glass(id(n), token);
            }
            Step::FailedCommit(host) => self.failed_commit(host),
            Step::Restart => self.restart(self.world.stored.clone(), Start::Continued),
            Step::Backup => self.backup = self.world.stored.clone(),
            Step::Restore => self.restart(self.backup.clone(), Start::Restored),
        }
        self.check();
    }

    fn cancel(&mut self, n: usize) {
        let open = self.world.core.jobs().filter(|row| row.is_open()).nth(n).cloned();
        let Some(JobRow { job, about }) = open else { return };
        if self.command(&Command::CancelJob { job: job.id, by: None })
            && let About::Machine(machine) = about
        {
            // What half a move has copied goes, too.
            if matches!(job.kind.as_str(), "enable" | "move") {
                self.delete.insert(machine);
            }
            if job.kind == "enable" {
                self.disabled.insert(machine);
                self.seen.cancelled += 1;
            }
        }
    }

    fn report(&mut self, host: usize, whole: bool) {
        let host = self.world.hosts[host];
        let (known, noted) = (self.world.core.protections().count(), self.noted());
        let reply = self.world.report_once(host, whole);
        self.seen.adopted += self.world.core.protections().count() - known;
        self.seen.turned_round += self.noted().saturating_sub(noted);
        if reply.wants_documents {
            self.seen.withheld += 1;
        } else {
            self.heard.insert(host);
        }
        for lineage in self.world.agents[&host].lineages.values() {
            self.told.insert((host, lineage.machine), lineage.epoch.number);
        }
    }

    /// Protections that say that an epoch was issued elsewhere.
    fn noted(&self) -> usize {
        let notes = self.world.core.protections().filter_map(|row| row.note.as_ref());
        notes.filter(|note| note.contains("was issued on a host")).count()
    }

    fn deliver(&mut self, site: usize) {
        for (host, document, verdict) in self.world.deliver(site) {
            self.seen.given_after_restore += usize::from(document.version.term.number > 1);
            self.seen.low_epochs += usize::from(matches!(verdict, Verdict::LowerEpoch { .. }));
            self.check_given(host, &document, &verdict);
        }
    }

    fn check_given(&self, host: HostId, document: &Document, verdict: &Verdict) {
        assert!(self.heard.contains(&host), "{:?} was sent to a host that has not spoken", document.key);
        let stale =
            matches!(verdict, Verdict::Stale { .. } | Verdict::Conflict { .. } | Verdict::Refused { .. });
        assert!(!stale, "{document:?} was {verdict:?}");
        if let (Key::Protection(machine), Some(epoch)) = (&document.key, document.epoch()) {
            let told = self.told.get(&(host, *machine)).copied().unwrap_or(0);
            // While a person has to settle who owns it, nobody is told of a new owner.
            let contested = matches!(&document.body, Body::Protection(body)
                if body.life.as_ref().is_some_and(|life| life.rival.is_some()));
            let number = epoch.number;
            assert!(contested || number >= told, "host said epoch {told}, and was sent {number}");
        }
        if let (Key::Protection(machine), Body::Removed { .. }) = (&document.key, &document.body) {
            assert!(self.disabled.contains(machine), "nobody has disabled machine {machine}");
        }
    }

    /// A report and a command whose transaction is not stored.
    fn failed_commit(&mut self, host: usize) {
        let before = self.world.core.clone();
        let at = self.world.moment();
        let (host, site) = (self.world.hosts[host], self.world.sites[host / 2]);
        let report = self.world.agents.get_mut(&host).unwrap().report(true);
        let report = farshore_control::sync::SiteReport {
            site,
            version: String::new(),
            clock_ms: 0,
            transit_ms: 0,
            problems: Vec::new(),
            hosts: vec![(0, report)],
        };
        let _ = self.world.core.site_report(&report, &at);
        let machines = vec![id(1)];
        let _ =
            self.world.core.run(&Command::Enable(Enable { machines, ..Enable::default() }), Some("k"), &at);
        self.world.core.tick(&at);
        self.seen.lost_transactions += usize::from(!self.world.core.changes().is_empty());
        self.world.core.roll_back();
        assert_eq!(self.world.core, before, "a rolled-back transaction leaves a trace");
        assert!(self.world.core.changes().is_empty());
    }

    fn restart(&mut self, rows: Stored, start: Start) {
        if start == Start::Restored {
            self.heard.clear();
            self.told.clear();
        }
        self.world.start(rows, start);
        if let Some(bug) = self.bug {
            self.world.core = self.world.core.clone().with_bug(bug);
        }
    }

    /// What holds after every step.
    fn check(&mut self) {
        for row in self.world.core.protections() {
            assert!(row.is_live() || self.disabled.contains(&row.machine), "{} ended by itself", row.name);
        }
        for host in &self.world.hosts {
            for n in 1..=4 {
                let held = self.world.agents[host].holder.get(&Key::Protection(id(n)));
                let removed = held.is_some_and(|document| matches!(document.body, Body::Removed { .. }));
                assert!(!removed || self.disabled.contains(&id(n)), "machine {n} was removed by nobody");
            }
        }
        let deleted = |agent: &'_ super::agent::Agent| {
            let host = agent.host;
            agent.deleted.iter().map(move |gone| (host, gone.clone())).collect::<Vec<_>>()
        };
        for (host, (machine, held)) in self.world.agents.values().flat_map(deleted) {
            assert!(self.delete.contains(&machine), "nobody has ordered to delete the replica of {machine}");
            let wanted = matches!(held, Some(Body::Protection(body)) if body.target.host == host);
            assert!(!wanted, "a replica in use was deleted");
        }
        // What is stored is what is in memory.
        // Jobs change with nearly every step, and are many: they are read back now and then.
        let with_jobs = self.world.clock.is_multiple_of(64);
        let rows = self.world.stored.iter().filter(|((kind, _), _)| with_jobs || kind != "job");
        let given = rows.map(|((kind, key), body)| (kind.as_str(), key.as_str(), body.as_slice()));
        let loaded = Core::load(given, Start::Continued, &super::world::moment(self.world.clock)).unwrap();
        assert!(loaded.protections().eq(self.world.core.protections()));
        assert!(loaded.documents().eq(self.world.core.documents()));
        assert!(loaded.epochs().eq(self.world.core.epochs()));
        let open = |core: &Core| core.jobs().map(|row| (row.job.id, row.is_open())).collect::<Vec<_>>();
        assert!(!with_jobs || open(&loaded) == open(&self.world.core));
        assert_eq!(loaded.sequence(), self.world.core.sequence());
    }

    /// Faults are over: everybody reports, and everything arrives.
    fn calm_down(&mut self) {
        for _ in 0..5 {
            for host in 0..4 {
                self.report(host, true);
            }
            self.world.wait(30_000);
            if self.world.core.head().superseded.is_some() {
                // What the operator does with a vault that was superseded and is wanted again.
                self.restart(self.world.stored.clone(), Start::Restored);
                continue;
            }
            (0..2).for_each(|site| self.deliver(site));
        }
        for machine in self.enabled.difference(&self.disabled) {
            let row = self.world.core.protection(*machine);
            let held = self.world.agents.values().any(|a| a.holder.get(&Key::Protection(*machine)).is_some());
            assert!(
                row.is_some_and(crate::rows::ProtectionRow::is_live) || !held,
                "machine {machine} is forgotten"
            );
        }
        let before = self.world.core.sequence();
        self.world.tick();
        assert_eq!(self.world.core.sequence(), before, "nothing is left to be said");
    }
}

fn tell(steps: &[Step], bug: Option<Bug>) -> Seen {
    let mut story = Story::new(bug);
    steps.iter().for_each(|step| story.take(step));
    story.calm_down();
    story.seen.deleted = story.world.agents.values().map(|agent| agent.deleted.len()).sum();
    story.seen
}

/// Stories in which nothing happens prove nothing.
#[test]
fn what_the_stories_are_about_happens_in_them() {
    let mut runner = TestRunner::deterministic();
    let stories = prop::collection::vec(step(), 30..80);
    let mut often = [0; 9];
    for _ in 0..500 {
        let seen = tell(&stories.new_tree(&mut runner).unwrap().current(), None);
        often.iter_mut().zip(seen.all()).for_each(|(sum, times)| *sum += times);
    }
    println!("as in Seen: {often:?}");
    // Agents copy nothing here, so that few replicas can be moved; `moving` has the rest.
    let [most @ .., moved] = often;
    assert!(most.iter().all(|times| *times >= 10) && moved > 0, "{often:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_no_story_is_anything_lost_taken_back_or_said_too_early(steps in prop::collection::vec(step(), 1..60)) {
        let _ = tell(&steps, None);
    }
}

#[test]
fn each_deliberate_mistake_is_caught_by_some_story() {
    for bug in [Bug::AbsenceIsRemoval, Bug::SpeaksFirst, Bug::ForgetsEpochs] {
        let config =
            Config { cases: 2000, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        let found = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)).run(
            &prop::collection::vec(step(), 1..60),
            |steps| {
                let quiet =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(&steps, Some(bug))));
                quiet.map(drop).map_err(|_| TestCaseError::fail("caught"))
            },
        );
        assert!(found.is_err(), "{bug:?} was not caught");
    }
}

//! A vault that knows one life, and what is always so of it. This module must never know what its
//! operator wants.

use std::time::{Duration, Instant};

use farshore_control::{Body, Key, report::SourcePhase};
use farshore_hypervisor::{self as hypervisor, Hypervisor, PowerState};
use farshore_protection::{
    Choice, Confirm, Copying, DrillPhase, Event, Facts, Input, Life, Operation, Order, Report, Said, Stage,
    State,
};
use farshore_types::{Epoch, HostId, PointId};
use tokio::sync::broadcast;

use super::{
    handing::{lineage, standing},
    killed::tell,
    vault::PATIENCE,
    world::{Bytes, Pair, SIZE},
};
use crate::world::key;

/// A vault that knows one life.
pub(super) struct Desk<'a> {
    pub(super) pair: &'a Pair,
    pub(super) life: Life,
    /// Whether it may run twice: somebody has confirmed that.
    pub(super) twice: bool,
    written: u64,
    /// How often it was brought up at another point where it runs.
    pub(super) points_changed: usize,
    /// What the two hypervisors tell.
    events: [broadcast::Receiver<hypervisor::Event>; 2],
}

impl<'a> Desk<'a> {
    pub(super) async fn protected(pair: &'a Pair) -> Desk<'a> {
        let life = Life::begin(pair.source_id, pair.target_id, Epoch { number: 1, token: 11 });
        pair.enable_with(|protection| protection.life = Some(life.clone()));
        let events = [pair.source_id, pair.target_id].map(|host| pair.host(host).events());
        let mut desk = Desk { pair, life, twice: false, written: 0, points_changed: 0, events };
        desk.writes_and_is_heard().await;
        desk
    }

    pub(super) async fn until(&mut self, what: &str, mut is: impl AsyncFnMut(&Desk<'_>) -> bool) {
        let begun = Instant::now();
        loop {
            self.pair.succeed_the_dead().await;
            self.never_runs_twice().await;
            self.hear(self.pair.source_id);
            self.hear(self.pair.target_id);
            if is(self).await {
                return;
            }
            let said =
                || [self.pair.source_id, self.pair.target_id].map(|host| self.pair.vault.last_of(host));
            assert!(begun.elapsed() < PATIENCE, "never: {what}; {:?}; {:#?}", self.life, said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until a host has heard what is wanted now, and cannot do it.
    pub(super) async fn until_it_cannot(&mut self, host: HostId) {
        self.until("it to be hindered", async |desk| {
            let report = desk.pair.vault.last_of(host);
            let cannot = report.and_then(|report| standing(&report, desk.pair.machine)?.cannot.clone());
            cannot.is_some() && desk.said_by(host).is_some_and(|said| said.current)
        })
        .await;
    }

    /// Until somebody has died, whom nobody succeeds yet, or it is so.
    pub(super) async fn until_a_death_or(&mut self, is: impl Fn(&Life) -> bool) {
        let (hosts, begun) = ([self.pair.source_id, self.pair.target_id], Instant::now());
        while !hosts.iter().any(|host| self.pair.has_died(*host)) && !is(&self.life) {
            assert!(begun.elapsed() < PATIENCE, "nobody dies; {:?}", self.life);
            hosts.iter().for_each(|host| self.hear(*host));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn runs_on(&self, host: HostId) -> bool {
        let machine = self.pair.host(host).machine(self.pair.machine).await;
        machine.is_ok_and(|machine| machine.power == PowerState::Running)
    }

    async fn never_runs_twice(&self) {
        let (one, other) = (self.pair.source_id, self.pair.target_id);
        let mut ran = [false; 4];
        for (ran, host) in ran.iter_mut().zip([one, other, one, other]) {
            *ran = self.runs_on(host).await;
        }
        // They are asked one after the other, and it may change hands in between: it runs twice where
        // one of them ran it before the other was asked, and after.
        let twice = ran[..3] == [true; 3] || ran[1..] == [true; 3];
        assert!(!twice || self.twice, "it runs twice: {:?}", self.life);
    }

    fn said_by(&self, host: HostId) -> Option<Said> {
        let (machine, report) = (self.pair.machine, self.pair.vault.last_of(host)?);
        let document = self.pair.vault.document(&Key::Protection(machine))?;
        let Body::Protection(body) = document.body else { return None };
        let version = (body.life.as_ref() == Some(&self.life)).then_some(document.version);
        Some(standing(&report, machine)?.said(host, lineage(&report, machine)?, version, &self.life.epoch))
    }

    /// What a host says, as the vault hears it.
    fn hear(&mut self, host: HostId) {
        let other = if host == self.life.source { self.life.target } else { self.life.source };
        if let Some(said) = self.said_by(host) {
            let told = self.said_by(other);
            for event in self.life.news_of(&said, told.as_ref()) {
                self.happens(&Report { epoch: said.lineage.epoch, event });
            }
        }
        for event in [self.copying(), self.drill(host)].into_iter().flatten() {
            self.happens(&Report { epoch: self.life.epoch, event });
        }
    }

    fn happens(&mut self, report: &Report) {
        let step = self.life.hear(report);
        if step.life != self.life {
            self.life = step.life;
            tell(self.pair, &self.life);
        }
    }

    fn copying(&self) -> Option<Event> {
        let life = &self.life;
        let report = self.pair.vault.last_of(life.source)?;
        let source = report.sources.into_iter().find(|source| source.epoch == life.epoch)?;
        let point = source.newest.is_some_and(|point| point.id.epoch == life.epoch.number);
        let event = match (life.copying, &source.phase) {
            (Copying::Seeding, SourcePhase::Replicating) if point => Event::FirstPoint,
            (Copying::Resync, SourcePhase::Replicating) if point => Event::Resynced,
            (Copying::Steady, SourcePhase::Resynchronizing { .. } | SourcePhase::ResyncNeeded { .. }) => {
                Event::TrackerLost
            }
            _ => return None,
        };
        Some(event)
    }

    fn drill(&self, host: HostId) -> Option<Event> {
        let drill = self.life.drill.as_ref().filter(|drill| drill.host == Some(host))?;
        self.said_by(host).filter(|said| said.current)?;
        let report = self.pair.vault.last_of(host)?;
        let there = standing(&report, self.pair.machine)?.drill.clone();
        match (drill.phase, there.filter(|there| there.order == drill.order)) {
            (DrillPhase::Opening, Some(there)) if there.runs => Some(Event::DrillRuns),
            (DrillPhase::CleaningUp, None) => Some(Event::DrillGone),
            _ => None,
        }
    }

    /// An order, given when nothing else is under way.
    pub(super) async fn orders(&mut self, operation: Operation, point: Choice) {
        let order = |life: &Life| {
            let confirmed = [Confirm::DataLoss, Confirm::MayStillRun].into();
            let order = Order { confirmed, seen: Some(life.version), point, ..Order::new(operation, 22) };
            let facts = Facts { known: vec![life.issued], ..Facts::well() };
            life.step(&Input::Order(Box::new(order)), &facts)
        };
        self.until(operation.name(), async |desk| order(&desk.life).is_ok()).await;
        self.life = order(&self.life).unwrap().life;
        tell(self.pair, &self.life);
    }

    /// The life comes somewhere, and the machine runs at its source, and there alone.
    pub(super) async fn comes_to(&mut self, state: State) {
        self.until(state.name(), async |desk| {
            desk.life.state() == state && desk.runs_on(desk.life.source).await
        })
        .await;
        assert!(self.twice || !self.runs_on(self.life.target).await);
    }

    /// The guest writes on a host; what its disks are then is in their files as well.
    pub(super) async fn writes(&mut self, host: HostId) -> Bytes {
        self.written += 1;
        let text = format!("what was written as number {}", self.written);
        for disk in ["vda", "vdb"] {
            let at = self.written * 60_000 % (SIZE - 1000);
            let here = self.pair.host(host);
            here.guest_write(self.pair.machine, &key(disk), at, (text.clone() + disk).as_bytes()).unwrap();
        }
        self.pair.keep_as_files(host).await;
        self.pair.disks_at(host).unwrap()
    }

    /// The guest writes, and that is acknowledged.
    pub(super) async fn writes_and_is_heard(&mut self) {
        self.comes_to(State::Protected).await;
        let written = self.writes(self.life.source).await;
        self.has_at(self.life.target, "the acknowledgment", &written).await;
    }

    /// What was written is the newest point at a host.
    async fn has_at(&mut self, host: HostId, what: &str, written: &Bytes) {
        self.until(what, async |desk| desk.pair.newest_at(host).await.as_ref() == Some(written)).await;
    }

    /// What only a host had is a point there that nobody prunes.
    pub(super) async fn keeps(&mut self, host: HostId, written: &Bytes) {
        self.until("what only it had", async |desk| {
            desk.pair.own_writes_at(host).await.is_some_and(|kept| kept.contains(written))
        })
        .await;
    }

    /// What was written is a point, wherever that is.
    pub(super) async fn is_somewhere(&mut self, written: &Bytes) {
        let hosts = [self.pair.source_id, self.pair.target_id];
        self.until("what was written to be a point", async |desk| {
            desk.pair.has_point_of(hosts[0], written).await || desk.pair.has_point_of(hosts[1], written).await
        })
        .await;
    }

    /// The machine goes to the other side, with the last that it wrote; what that is.
    pub(super) async fn moves(&mut self, operation: Operation) -> Bytes {
        let (from, to) = (self.life.source, self.life.target);
        self.until("it to be whole", async |desk| desk.life.copying == Copying::Steady).await;
        let written = self.writes(from).await;
        self.was_not_stopped();
        self.stops_on(to);
        self.orders(operation, Choice::Latest).await;
        self.comes_to(State::MovedOver).await;
        assert_eq!(self.life.source, to);
        self.stands_at(to, &written).await;
        written
    }

    /// What its disks' files show is what was written.
    pub(super) async fn stands_at(&self, host: HostId, written: &Bytes) {
        let here = self.pair.files_at(host).await;
        assert!(here == *written, "something is lost: {:?}", self.life);
        // A simulated disk does not have what its overlay stands on.
        self.pair.fill_disks(host, written);
    }

    /// Nobody takes the failover back any more.
    pub(super) async fn commits(&mut self) {
        self.orders(Operation::Commit, Choice::Latest).await;
        self.comes_to(State::Protected).await;
    }

    /// An earlier point than that at which it runs.
    pub(super) async fn earlier(&mut self) -> PointId {
        let Stage::FailedOver { at: Some(at), .. } = self.life.stage else { panic!("{:?}", self.life) };
        let (host, mut found) = (self.life.source, None);
        self.until("its points", async |desk| {
            found = desk.pair.point_before(host, at).await;
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// How often the machine was stopped on a host since this was asked last.
    pub(super) fn stops_on(&mut self, host: HostId) -> usize {
        let mut stops = 0;
        let events = &mut self.events[usize::from(host != self.pair.source_id)];
        while let Ok(hypervisor::Event::Machine { machine, change }) = events.try_recv() {
            let stopped = matches!(change, hypervisor::Change::Stopped { .. });
            stops += usize::from(stopped && machine == self.pair.machine);
        }
        stops
    }

    /// Nobody has stopped it where it runs since it was to come there, but for another point.
    pub(super) fn was_not_stopped(&mut self) {
        let stops = self.stops_on(self.life.source);
        assert_eq!(stops, self.points_changed, "what runs as it was ordered is not stopped again");
        self.points_changed = 0;
    }

    /// Nothing is under way, and nothing is left over.
    pub(super) async fn ends(mut self) {
        self.comes_to(State::Protected).await;
        self.writes_and_is_heard().await;
        for host in [self.pair.source_id, self.pair.target_id] {
            let (here, machine) = (self.pair.host(host), self.pair.machine);
            let others = here.machines().await.unwrap().into_iter().filter(|other| other.id != machine);
            assert_eq!(others.count(), 0, "a copy of a test failover is left");
            assert_eq!(here.networks().len(), 0);
            if host == self.life.target {
                let left = here.checkpoints(machine).await.unwrap_or_default();
                assert!(left.len() < 2, "who is no source any more keeps records of changes: {left:?}");
            }
        }
        self.was_not_stopped();
        assert!(!self.pair.replicas_dir().join(format!("{}.drill", self.pair.machine)).exists());
    }
}

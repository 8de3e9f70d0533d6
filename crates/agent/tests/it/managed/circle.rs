//! The matrix of deaths: a protection's life goes once around while an agent dies at one of the
//! things that it does, before it or after, and another one comes from what it has left. For each
//! of them the life comes to its end: the machine never runs twice, what was acknowledged is
//! there, no replica is lost, and nothing is left over. Simulated hypervisors; the vault is the
//! shipped pure code of lives, told by reports alone.
//!
//! Usually a sample of the deaths is tried, another one for each `FARSHORE_SEED`;
//! `FARSHORE_CUTS=all` tries all of them.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use farshore_agent::control::{Reply, Request};
use farshore_control::{Body, Key, report::SourcePhase};
use farshore_hypervisor::{self as hypervisor, Hypervisor, PowerState};
use farshore_protection::{
    Choice, Confirm, Copying, DrillPhase, Event, Facts, Input, Life, Operation, Order, Report, Said, Stage,
    State,
};
use farshore_types::{Epoch, HostId, PointId};
use tokio::{
    sync::{Semaphore, broadcast},
    task::JoinSet,
};

use super::{
    handing::{lineage, standing},
    killed::tell,
    mortal::{Cut, Mortal},
    vault::PATIENCE,
    world::{Pair, SIZE},
};
use crate::world::key;

/// Worlds side by side.
const AT_ONCE: usize = 6;
/// Deaths that are usually tried of each part of the circle.
const USUALLY: usize = 10;
/// Of what is done in every cycle, only the first few times are tried.
const OF_CYCLES: u64 = 3;
const IN_EVERY_CYCLE: [&str; 3] = ["call BeginBackup", "call EndBackup", "call DeleteCheckpoint"];

/// A vault that knows one life.
struct Desk<'a> {
    pair: &'a Pair,
    life: Life,
    /// Whether it may run twice: somebody has confirmed that.
    twice: bool,
    written: u64,
    /// How often it was brought up at another point where it runs.
    points_changed: usize,
    /// What the two hypervisors tell.
    events: [broadcast::Receiver<hypervisor::Event>; 2],
}

impl<'a> Desk<'a> {
    async fn protected(pair: &'a Pair) -> Desk<'a> {
        for host in [pair.source_id, pair.target_id] {
            pair.host(host).add_image(&pair.overlay_at(host), SIZE);
        }
        let life = Life::begin(pair.source_id, pair.target_id, Epoch { number: 1, token: 11 });
        pair.enable_with(|protection| protection.life = Some(life.clone()));
        let events = [pair.source_id, pair.target_id].map(|host| pair.host(host).events());
        let mut desk = Desk { pair, life, twice: false, written: 0, points_changed: 0, events };
        desk.writes_and_is_heard().await;
        desk
    }

    async fn until(&mut self, what: &str, mut is: impl AsyncFnMut(&Desk<'_>) -> bool) {
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

    async fn runs_on(&self, host: HostId) -> bool {
        let machine = self.pair.host(host).machine(self.pair.machine).await;
        machine.is_ok_and(|machine| machine.power == PowerState::Running)
    }

    async fn never_runs_twice(&self) {
        let twice = self.runs_on(self.pair.source_id).await && self.runs_on(self.pair.target_id).await;
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
                self.happens(Report { epoch: said.lineage.epoch, event });
            }
        }
        for event in [self.copying(), self.drill(host)].into_iter().flatten() {
            self.happens(Report { epoch: self.life.epoch, event });
        }
    }

    fn happens(&mut self, report: Report) {
        let step = self.life.hear(&report);
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
    async fn orders(&mut self, operation: Operation, point: Choice) {
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
    async fn comes_to(&mut self, state: State) {
        self.until(state.name(), async |desk| {
            desk.life.state() == state && desk.runs_on(desk.life.source).await
        })
        .await;
        assert!(self.twice || !self.runs_on(self.life.target).await);
    }

    /// The guest writes, and that is acknowledged.
    async fn writes_and_is_heard(&mut self) {
        self.written += 1;
        let text = format!("what was written as number {}", self.written);
        let (machine, offset) = (self.pair.machine, self.written * 70_000);
        self.comes_to(State::Protected).await;
        let host = self.pair.host(self.life.source);
        host.guest_write(machine, &key("vda"), offset, text.as_bytes()).unwrap();
        self.until("the acknowledgment", async |desk| desk.target_has_all().await).await;
    }

    /// Whether the newest point has what is on the machine's disk.
    async fn target_has_all(&self) -> bool {
        let there = self.pair.bytes_at(self.life.target).await;
        there.is_some() && there == self.bytes_on(self.life.source)
    }

    fn bytes_on(&self, host: HostId) -> Option<Vec<u8>> {
        self.pair.host(host).model_bytes(self.pair.machine, &key("vda")).ok()
    }

    /// The machine goes to the other side, with the last that it wrote.
    async fn moves(&mut self, operation: Operation) {
        let (from, to) = (self.life.source, self.life.target);
        self.written += 1;
        let last = format!("the last word, number {}", self.written);
        let offset = self.written * 70_000;
        self.until("it to be whole", async |desk| desk.life.copying == Copying::Steady).await;
        self.pair.host(from).guest_write(self.pair.machine, &key("vda"), offset, last.as_bytes()).unwrap();
        let written = self.bytes_on(from);
        self.pair.keep_as_file(from, written.as_deref().unwrap());
        self.was_not_stopped();
        self.stops_on(to);
        self.orders(operation, Choice::Latest).await;
        self.comes_to(State::MovedOver).await;
        assert_eq!(self.life.source, to);
        self.has_at(to, &written).await;
        // What a simulated disk does not have is all that its overlay stands on.
        let host = self.pair.host(to);
        host.guest_write(self.pair.machine, &key("vda"), 0, written.as_deref().unwrap()).unwrap();
        self.orders(Operation::Commit, Choice::Latest).await;
        self.comes_to(State::Protected).await;
    }

    /// What was written there is the newest point here.
    async fn has_at(&mut self, host: HostId, written: &Option<Vec<u8>>) {
        self.until("what was written", async |desk| {
            let here = desk.pair.bytes_at(host).await;
            assert!(here.is_none() || here == *written, "something is lost");
            here.is_some()
        })
        .await;
    }

    /// An earlier point than that at which it runs.
    async fn earlier(&mut self) -> PointId {
        let Stage::FailedOver { at: Some(at), .. } = self.life.stage else { panic!("{:?}", self.life) };
        let mut found = None;
        self.until("its points", async |desk| {
            let Ok(Reply::Points(replicas)) = desk.pair.ask_target(Request::Points { machine: None }).await
            else {
                return false;
            };
            let points = replicas.into_iter().flat_map(|replica| replica.points).map(|point| point.id);
            found = points.filter(|point| *point < at).max();
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// How often the machine was stopped on a host since this was asked last.
    fn stops_on(&mut self, host: HostId) -> usize {
        let mut stops = 0;
        let events = &mut self.events[usize::from(host != self.pair.source_id)];
        while let Ok(hypervisor::Event::Machine { machine, change }) = events.try_recv() {
            let stopped = matches!(change, hypervisor::Change::Stopped { .. });
            stops += usize::from(stopped && machine == self.pair.machine);
        }
        stops
    }

    /// Nobody has stopped it where it runs since it was to come there, but for another point.
    fn was_not_stopped(&mut self) {
        let stops = self.stops_on(self.life.source);
        assert_eq!(stops, self.points_changed, "what runs as it was ordered is not stopped again");
        self.points_changed = 0;
    }

    /// Nothing is under way, and nothing is left over.
    async fn ends(mut self) {
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

/// There, home, and a test failover.
async fn there_and_back(pair: &Pair) {
    let mut desk = Desk::protected(pair).await;
    desk.moves(Operation::PlannedFailover).await;
    desk.writes_and_is_heard().await;
    desk.moves(Operation::Failback).await;
    desk.orders(Operation::TestFailover, Choice::Latest).await;
    let open =
        |desk: &Desk<'_>| desk.life.drill.as_ref().is_some_and(|drill| drill.phase == DrillPhase::Open);
    desk.until("the copy to run", async |desk| open(desk)).await;
    desk.orders(Operation::CleanUp, Choice::Latest).await;
    desk.until("nothing of it", async |desk| desk.life.drill.is_none()).await;
    desk.ends().await;
}

/// A disaster, after which the old primary comes back; another point; the way home.
async fn disaster(pair: &Pair) {
    let mut desk = Desk::protected(pair).await;
    desk.writes_and_is_heard().await;
    let written = desk.bytes_on(pair.source_id);
    pair.stop_source().await;
    desk.twice = true;
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.comes_to(State::FailedOver).await;
    desk.has_at(pair.target_id, &written).await;
    pair.start_source();
    desk.until("the old primary to be fenced", async |desk| !desk.runs_on(desk.life.target).await).await;
    desk.twice = false;
    let earlier = desk.earlier().await;
    desk.points_changed = 1;
    desk.orders(Operation::ChangePoint, Choice::At(earlier)).await;
    desk.comes_to(State::FailedOver).await;
    let Stage::FailedOver { at, .. } = desk.life.stage else { panic!("{:?}", desk.life) };
    assert_eq!(at, Some(earlier));
    desk.orders(Operation::Commit, Choice::Latest).await;
    desk.comes_to(State::Committed).await;
    desk.orders(Operation::Reverse, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    desk.writes_and_is_heard().await;
    desk.moves(Operation::Failback).await;
    desk.ends().await;
}

#[derive(Clone, Copy)]
enum Part {
    ThereAndBack,
    Disaster,
}

impl Part {
    async fn plays(self, lives: [Arc<Mortal>; 2]) {
        let pair = Pair::of_mortals(lives).await;
        match self {
            Part::ThereAndBack => there_and_back(&pair).await,
            Part::Disaster => disaster(&pair).await,
        }
        pair.succeed_the_dead().await;
        pair.end().await;
    }

    /// Whether it does, on a thread of its own; else why not.
    async fn goes_well(self, lives: [Arc<Mortal>; 2]) -> Result<(), String> {
        let here = tokio::runtime::Handle::current();
        let played = tokio::task::spawn_blocking(move || here.block_on(self.plays(lives)));
        played.await.map_err(|why| {
            let why = why.into_panic();
            why.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned())
        })
    }

    /// Everything at which somebody may die: whose agent, and the cut.
    async fn cuts(self) -> Vec<(usize, Cut)> {
        let lives = [Mortal::until(None), Mortal::until(None)];
        self.plays(lives.clone()).await;
        let mut cuts = Vec::new();
        for (at, life) in lives.iter().enumerate() {
            let seen: BTreeMap<String, u64> = life.seen();
            for (what, times) in seen.into_iter().filter(|(what, _)| !what.ends_with("newest.raw")) {
                let most = if IN_EVERY_CYCLE.contains(&what.as_str()) { OF_CYCLES } else { times };
                let cut = |nth, after| (at, Cut { what: what.clone(), nth, after });
                cuts.extend((1..=times.min(most)).flat_map(|nth| [cut(nth, false), cut(nth, true)]));
            }
        }
        cuts
    }
}

/// Those that are tried this time.
fn chosen(cuts: Vec<(usize, Cut)>) -> Vec<(usize, Cut)> {
    let all = std::env::var("FARSHORE_CUTS").is_ok_and(|which| which == "all");
    let seed = std::env::var("FARSHORE_SEED").unwrap_or_default();
    let mut cuts = cuts;
    if !all {
        cuts.sort_by_key(|cut| {
            let mut hasher = DefaultHasher::new();
            (&seed, cut).hash(&mut hasher);
            hasher.finish()
        });
        cuts.truncate(USUALLY);
    }
    cuts
}

/// Plays a part once for each; those that went wrong, and how many died.
async fn matrix(part: Part, cuts: Vec<(usize, Cut)>) -> (Vec<String>, usize) {
    let (room, mut worlds) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for (at, cut) in cuts {
        let room = Arc::clone(&room);
        worlds.spawn(async move {
            let _room = room.acquire_owned().await.unwrap();
            let case = format!("host {at}: {cut:?}");
            let mut lives = [Mortal::until(None), Mortal::until(None)];
            lives[at] = Mortal::until(Some(cut));
            let went = part.goes_well(lives.clone()).await;
            (went.err().map(|why| format!("{case}: {why}")), lives[at].is_dead())
        });
    }
    let went = worlds.join_all().await;
    let died = went.iter().filter(|(_, died)| *died).count();
    (went.into_iter().filter_map(|(wrong, _)| wrong).collect(), died)
}

async fn every_death(part: Part) {
    let all = part.cuts().await;
    assert!(all.len() > 100, "{}", all.len());
    let cuts = chosen(all);
    let tried = cuts.len();
    let (wrong, died) = matrix(part, cuts).await;
    assert!(wrong.is_empty(), "{} of {tried}: {wrong:#?}", wrong.len());
    // One story differs from the next in a cycle or two, and so does who lives to its end.
    assert!(died * 10 >= tried * 7, "{died} of {tried} died");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_at_whatever_it_does_a_machine_goes_there_and_comes_home() {
    every_death(Part::ThereAndBack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_at_whatever_it_does_a_disaster_is_got_over() {
    every_death(Part::Disaster).await;
}

/// Whether a disaster is got over by a target that has just let the machine run when it dies.
async fn is_got_over(forgetful: bool) -> bool {
    let cut = Cut { what: "call Resume".to_owned(), nth: 1, after: true };
    let target = Mortal::until(Some(cut));
    target.set_forgetful(forgetful);
    let went = Part::Disaster.goes_well([Mortal::until(None), Arc::clone(&target)]).await;
    assert!(target.is_dead());
    went.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_acts_on_what_it_has_not_kept_is_caught() {
    let (keeps, forgets) = tokio::join!(is_got_over(false), is_got_over(true));
    assert_eq!((keeps, forgets), (true, false));
}

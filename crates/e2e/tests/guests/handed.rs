//! A real guest that changes hands, by its protection's life: moved without any loss, protected
//! in reverse at once without a second copy, and moved home again. The vault is the test: it
//! holds the life, writes the documents that follow from it, and makes events of what the two
//! agents report.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use farshore_agent::control::{Exported, PointLine, ReplicaPoints};
use farshore_control::{
    Body, Compression, Document, Endpoint, InitialCopy, Intent, KeepPoints, Key, Protection, Settings, Term,
    Version, Wire,
    report::SourcePhase,
    standing::Flattening,
    sync::{Cursor, Documents},
};
use farshore_e2e::{desk::Desk, host::TestHost};
use farshore_guest::{Load, read_console};
use farshore_protection::{
    Confirm, Copying, DrillPhase, Event, Facts, Input, Life, Operation, Order, Report, Said, Stage, State,
};
use farshore_types::{Epoch, HostId, MachineId, VaultId};
use uuid::Uuid;

use crate::{
    ledger::record_on,
    site::{MACHINE, PATIENCE, Site, gave_up, wait},
};

/// What the workload may be down besides its own shutdown and boot: promised for a machine that
/// does nothing else.
const DOWN_MS: u128 = 3000;

/// How far the guest's clock, which it reads from its board in whole seconds, may be from its host's.
const CLOCKS_MS: u64 = 2000;

/// The vault of one guest.
pub(crate) struct Above {
    pub(crate) site: Site,
    pub(crate) life: Life,
    written: Life,
    generation: u64,
    machine: MachineId,
    frequency: u64,
    apps: Option<u64>,
}

pub(crate) const IDS: [HostId; 2] = [HostId(Uuid::from_u128(0xa)), HostId(Uuid::from_u128(0xb))];

fn term() -> Term {
    Term { number: 1, vault: VaultId(Uuid::from_u128(0xf)) }
}

impl Above {
    /// The guest runs at home, and is protected.
    pub(crate) fn new(frequency: u64) -> Above {
        Above::configured(frequency, "")
    }

    /// The same, with more in the configuration of both hosts.
    pub(crate) fn configured(frequency: u64, more: &str) -> Above {
        let site = Site::new(Load { write_kib_per_second: 128, ..Load::default() });
        Above::of(site, frequency, None, more)
    }

    /// Likewise, with a guest of one's own, and application-consistent points every `apps` seconds.
    pub(crate) fn of(mut site: Site, frequency: u64, apps: Option<u64>, more: &str) -> Above {
        site.start_guest();
        for (host, id) in [(&mut site.home, IDS[0]), (&mut site.away, IDS[1])] {
            host.configure_more(&format!("shutdown_deadline = '90s'\n{more}")).unwrap();
            Desk::of(&host.config()).make(id).unwrap();
        }
        let life = Life::begin(IDS[0], IDS[1], Epoch { number: 1, token: 1 });
        let machine: MachineId = site.uuid.parse().unwrap();
        let mut above = Above { site, written: life.clone(), life, generation: 0, machine, frequency, apps };
        above.write();
        above.site.home.start_agent().unwrap();
        above.site.away.start_agent().unwrap();
        above
    }

    pub(crate) fn host(&self, id: HostId) -> &TestHost {
        if id == IDS[0] { &self.site.home } else { &self.site.away }
    }

    pub(crate) fn desk(&self, id: HostId) -> Desk {
        Desk::of(&self.host(id).config())
    }

    fn endpoint(&self, id: HostId) -> Endpoint {
        let host = self.host(id);
        Endpoint { host: id, name: host.name.clone(), address: format!("{}:{}", host.address, host.port) }
    }

    fn version(&self) -> Version {
        Version { term: term(), generation: self.generation }
    }

    fn protection(&self) -> Protection {
        let wanted = self.life.wanted();
        let keep = KeepPoints { every_point_secs: 3600, hourly_secs: 0, daily_secs: 0, points_max: 100 };
        Protection {
            machine: self.machine,
            name: MACHINE.to_owned(),
            epoch: self.life.epoch,
            source: self.endpoint(self.life.source),
            target: self.endpoint(self.life.target),
            intent: if wanted.copies { Intent::Replicate } else { Intent::Pause },
            initial: InitialCopy::Now,
            resync: 0,
            excluded: BTreeSet::new(),
            settings: Settings {
                copy_frequency_secs: self.frequency,
                app_consistent_secs: self.apps,
                retention: keep,
                compression: Compression::On,
                replica_compression: true,
                small_writes: true,
                wire: Wire::Certificate,
                bandwidth: None,
                bandwidth_windows: Vec::new(),
                resync_window: Some((0, 0)),
            },
            place: None,
            networks: BTreeMap::new(),
            networks_back: BTreeMap::new(),
            addresses: Vec::new(),
            twin: None,
            life: Some(self.life.clone()),
        }
    }

    /// Writes the document of the life as it is.
    fn write(&mut self) {
        self.generation += 1;
        self.written = self.life.clone();
        let body = Body::Protection(Box::new(self.protection()));
        let document = Document::new(Key::Protection(self.machine), self.version(), IDS.into(), body);
        let cursor = Cursor { term: term(), sequence: self.generation };
        let documents =
            Documents { term: term(), cursor, documents: vec![document], more: false, clock_ms: None };
        for id in IDS {
            self.desk(id).tell(&documents).unwrap();
        }
    }

    fn step(&mut self, event: Event, epoch: Epoch) {
        let step = self.life.step(&Input::Report(Report { epoch, event }), &Facts::well()).unwrap();
        self.life = step.life;
    }

    /// Makes events of what both hosts say, and writes what follows.
    pub(crate) fn hear(&mut self) {
        let said: Vec<Option<Said>> = IDS.iter().map(|id| self.said(*id)).collect();
        for (one, other) in [(0, 1), (1, 0)] {
            let Some(words) = &said[one] else { continue };
            for event in self.life.news_of(words, said[other].as_ref()) {
                let epoch = words.lineage.epoch;
                self.step(event, epoch);
            }
        }
        let replicated = self.desk(self.life.source).report().is_some_and(|report| {
            let source = report.sources.iter().find(|source| source.machine == self.machine);
            source.is_some_and(|source| source.epoch == self.life.epoch && source.newest.is_some())
        });
        if replicated && self.life.copying == Copying::Seeding {
            self.step(Event::FirstPoint, self.life.epoch);
        }
        if replicated && self.life.copying == Copying::Resync && self.compares_no_more() {
            self.step(Event::Resynced, self.life.epoch);
        }
        self.hear_of_drill();
        if self.flattening().is_some_and(|flattening| flattening.flat) {
            self.step(Event::Flattened, self.life.epoch);
        }
        if self.life != self.written {
            self.write();
        }
    }

    fn hear_of_drill(&mut self) {
        let Some(drill) = self.life.drill.clone() else { return };
        let report = self.desk(self.life.target).report();
        let standings = report.into_iter().flat_map(|report| report.standings);
        let version = Some(self.version());
        let Some(standing) = standings.into_iter().find(|s| s.document == version) else { return };
        match (drill.phase, standing.drill) {
            (DrillPhase::Opening, Some(there)) if there.runs && there.order == drill.order => {
                self.step(Event::DrillRuns, self.life.epoch);
            }
            (DrillPhase::CleaningUp, None) => self.step(Event::DrillGone, self.life.epoch),
            _ => {}
        }
    }

    /// How far flattening is, as the host says that was last told what the life wants.
    pub(crate) fn flattening(&self) -> Option<Flattening> {
        let standings = self.desk(self.life.source).report()?.standings;
        let ours = standings.into_iter().find(|standing| standing.machine == self.machine)?;
        ours.flattening.filter(|_| ours.document == Some(self.version()))
    }

    fn compares_no_more(&self) -> bool {
        let report = self.desk(self.life.source).report();
        let sources = report.into_iter().flat_map(|report| report.sources);
        let mut ours = sources.filter(|source| source.machine == self.machine);
        ours.any(|source| source.phase == SourcePhase::Replicating)
    }

    fn said(&self, id: HostId) -> Option<Said> {
        let report = self.desk(id).report()?;
        let lineage = report.lineages.iter().find(|lineage| lineage.machine == self.machine)?;
        let standing = report.standings.iter().find(|standing| standing.machine == self.machine)?;
        Some(standing.said(id, lineage, Some(self.version()), &self.life.epoch))
    }

    pub(crate) fn until(&mut self, what: &str, is: impl Fn(&Life) -> bool) {
        let begun = Instant::now();
        loop {
            self.hear();
            if is(&self.life) {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let standings = IDS.map(|id| self.desk(id).report().map(|report| report.standings));
                gave_up(&format!("{what}: {:?}; {standings:?}", self.life));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    pub(crate) fn order(&mut self, operation: Operation, change: impl FnOnce(&mut Order)) {
        let token = u128::from(self.life.issued.number) + 100;
        let mut order = Order {
            confirmed: [Confirm::DataLoss, Confirm::MayStillRun].into(),
            seen: Some(self.life.version),
            ..Order::new(operation, token)
        };
        change(&mut order);
        let facts = Facts { known: vec![self.life.issued], ..Facts::well() };
        let step = self.life.step(&Input::Order(Box::new(order)), &facts).unwrap();
        self.life = step.life;
        self.write();
    }

    /// Moves the guest to the other side; gives the milliseconds from its last word to its start
    /// there.
    pub(crate) fn move_over(&mut self, operation: Operation) -> u128 {
        self.site.until_guest_goes_on();
        let (boots, to) = (self.site.verdicts().len(), self.life.target);
        self.order(operation, |_| {});
        let stopped = self.stopped_after(boots);
        let off = Instant::now();
        self.until("the other side to run it", |life| life.source == to && life.state() == State::MovedOver);
        let down = off.elapsed().as_millis();
        let verdict = self.site.verdict_after(boots);
        assert_eq!(verdict.last, stopped, "nothing is lost: {verdict}");
        println!("{operation:?}: down for {down} ms besides its own shutdown and boot");
        for host in [&self.site.home, &self.site.away] {
            let log = host.log();
            let told = log.lines().filter(|line| line.contains("life::") || line.contains("session"));
            told.for_each(|line| println!("{}: {}", host.name, line.get(..160).unwrap_or(line)));
        }
        down
    }

    /// The guest's very last record, when it has shut down in order.
    fn stopped_after(&mut self, boots: usize) -> u64 {
        let begun = Instant::now();
        loop {
            self.hear();
            let console = read_console(&self.site.console).unwrap();
            if let Some(last) = console.stopped_at().filter(|_| console.verdicts().len() == boots) {
                return last;
            }
            if begun.elapsed() > PATIENCE {
                gave_up(&format!("the guest to shut down: {:?}", self.life));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The points that a host keeps, oldest first.
    pub(crate) fn points(&self, id: HostId) -> Vec<PointLine> {
        let all: Vec<ReplicaPoints> = self.host(id).command(&["points", MACHINE]).unwrap_or_default();
        all.into_iter().flat_map(|replica| replica.points).collect()
    }

    /// The newest point at the other side, when nothing comes any more; what was on its way when its
    /// source died has arrived, or never will.
    fn newest_for_good(&self) -> PointLine {
        let newest = || self.points(self.life.target).pop();
        wait("the last point to have arrived", || {
            let before = newest()?;
            std::thread::sleep(Duration::from_secs(1));
            newest().filter(|now| *now == before)
        })
    }

    /// Waits for a point of an instant from now on at the host that keeps the replica, and judges
    /// it by the guest's ledger.
    pub(crate) fn next_point(&mut self) -> PointLine {
        let (keeper, now) = (self.life.target, crate::site::now_ms());
        let begun = Instant::now();
        let point = loop {
            self.hear();
            if let Some(point) = self.points(keeper).pop().filter(|point| point.captured_ms >= now) {
                break point;
            }
            if begun.elapsed() > PATIENCE {
                gave_up(&format!("a point: {:?}", self.desk(self.life.source).report()));
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        self.judge(keeper, &point);
        point
    }

    /// The last record of a point, which is whole.
    pub(crate) fn judge(&self, keeper: HostId, point: &PointLine) -> u64 {
        self.exported(keeper, point).0
    }

    /// The same, and both disks; the directory that they are in ends with the third.
    fn exported(&self, keeper: HostId, point: &PointLine) -> (u64, Vec<PathBuf>, tempfile::TempDir) {
        let out = tempfile::tempdir_in(self.site.dir.path()).unwrap();
        let (id, to) = (point.id.to_string(), out.path().display().to_string());
        let exported: Exported =
            self.host(keeper).command(&["export", MACHINE, "--point", &id, "--to", &to]).unwrap();
        let [vda, vdb, ..] = &exported.disks[..] else { panic!("the guest has two disks") };
        let seen = (self.site.whole)(&vda.path, &vdb.path).unwrap_or_else(|why| panic!("point {id}: {why}"));
        (seen.last, vec![vda.path.clone(), vdb.path.clone()], out)
    }

    /// Bytes that a host has sent since its agent began to run.
    pub(crate) fn sent(&self, id: HostId) -> u64 {
        let report = self.desk(id).report();
        let sources = report.into_iter().flat_map(|report| report.sources);
        sources.map(|source| source.totals.sent).sum()
    }

    /// Bytes that everything of the guest takes on a host.
    pub(crate) fn size(&self, id: HostId) -> u64 {
        fn under(dir: &std::path::Path) -> u64 {
            use std::os::unix::fs::MetadataExt;
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|e| match e.file_type().unwrap().is_dir() {
                    true => under(&e.path()),
                    false => e.metadata().map_or(0, |m| m.blocks() * 512),
                })
                .sum()
        }
        let dir = &self.host(id).dir;
        under(&dir.join("replicas")) + under(&dir.join("images"))
    }
}

#[test]
fn a_disaster_leads_away_the_old_primary_is_fenced_and_only_what_differs_leads_home() {
    let mut above = Above::new(1);
    above.until("the first point", |life| life.state() == State::Protected);
    above.next_point();
    // Nothing is heard of home any more, and its guest runs on.
    above.desk(IDS[0]).cut(true).unwrap();
    above.site.home.kill_agent();
    let shown = above.newest_for_good();
    let (last, disks, _out) = above.exported(IDS[1], &shown);
    let (newest, digest) = record_on(&disks[1], last);
    above.site.until_guest_goes_on();
    let known = above.site.last_known();
    let boots = above.site.verdicts().len();
    above.order(Operation::UnplannedFailover, |_| {});
    above.until("it to be brought up there", |life| life.state() == State::FailedOver);
    let verdict = above.site.verdict_after(boots);
    let at = |life: &Life| match &life.stage {
        Stage::FailedOver { at, .. } => *at,
        _ => None,
    };
    assert_eq!(at(&above.life), Some(shown.id), "the newest point that had arrived: {:?}", above.life);
    assert_eq!(verdict.last, last, "all that this point has, and nothing else");
    // The old primary comes back while the new one runs.
    assert!(!above.site.home.machine_pids().is_empty(), "it runs on, and nobody heard of it");
    above.desk(IDS[0]).cut(false).unwrap();
    above.site.home.start_agent().unwrap();
    let fenced = |above: &Above| {
        let standings = above.desk(IDS[0]).report().map(|report| report.standings).unwrap_or_default();
        standings.iter().any(|standing| standing.fenced && standing.runs == Some(false))
    };
    wait("the copy at home to be fenced", || fenced(&above).then_some(()));
    assert_eq!(above.site.home.machine_pids(), Vec::<u32>::new());
    above.order(Operation::Commit, |_| {});
    above.order(Operation::Reverse, |_| {});
    above.until("protection in reverse", |life| life.state() == State::Protected);
    let point = above.next_point();
    assert!(point.id.epoch == 2, "{}", point.id);
    let pinned = above.points(IDS[0]).into_iter().find(|point| !point.pinned_by.is_empty());
    let own = pinned.expect("what home wrote itself is kept");
    let (kept, disks, _out) = above.exported(IDS[0], &own);
    assert!(kept >= known && known > last, "{last} records came up, {known} were told of, {kept} are kept");
    // The same history went on there; the point's instant is between the record that it ends with and
    // the next one, which is the first that was lost.
    assert_eq!(record_on(&disks[1], last).1, digest);
    let (lost, _) = record_on(&disks[1], last + 1);
    println!("{} ms, point {}, {} ms", newest.written_ms, shown.captured_ms, lost.written_ms);
    let near = shown.captured_ms.saturating_sub(CLOCKS_MS)..=shown.captured_ms + CLOCKS_MS;
    assert!(near.contains(&newest.written_ms) && near.contains(&lost.written_ms));
    let (sent, whole) = (above.sent(IDS[1]), above.size(IDS[0]));
    println!("{sent} bytes sent, of {whole}");
    assert!(sent < whole / 3, "only what differs is sent: {sent} of {whole}");
    above.move_over(Operation::Failback);
    let point = above.next_point();
    assert!(point.id.epoch == 3 && above.life.source == IDS[0], "{}", point.id);
}

#[test]
fn a_guest_is_moved_there_and_home_three_times_without_loss_and_protected_in_reverse_without_a_copy() {
    let mut above = Above::new(1);
    above.until("the first point", |life| life.state() == State::Protected);
    let first_copy = above.size(IDS[0]);
    let down = above.move_over(Operation::PlannedFailover);
    // It is protected in reverse at once, and only what was written since is sent.
    let point = above.next_point();
    assert!(point.id.epoch == 2, "{}", point.id);
    let (there, sent) = (above.points(IDS[1]), above.sent(IDS[1]));
    println!("{sent} bytes sent in reverse, of {first_copy}");
    assert!(sent < first_copy / 4, "{sent} bytes were sent: no second copy of {first_copy}");
    assert!(there.len() > 1, "history stays");
    let pinned = |above: &Above| above.points(IDS[0]).iter().any(|point| !point.pinned_by.is_empty());
    assert!(pinned(&above), "what it could be taken back to stays until it is committed");
    above.order(Operation::Commit, |_| {});
    above.next_point();
    wait("that point to grow old as all others", || (!pinned(&above)).then_some(()));
    let back = above.move_over(Operation::Failback);
    assert!(above.life.source == IDS[0]);
    let point = above.next_point();
    assert!(point.id.epoch == 3, "{}", point.id);
    // A slow machine that does other things, too, says nothing about the promise.
    if std::env::var_os("FARSHORE_QUIET").is_some() {
        assert!(down <= DOWN_MS && back <= DOWN_MS, "down for {down} and {back} ms");
    }
    // And twice more: what one circle leaves is in no other one's way.
    for circle in 2..=3 {
        above.order(Operation::Commit, |_| {});
        for operation in [Operation::PlannedFailover, Operation::Failback] {
            above.move_over(operation);
            above.next_point();
            if operation == Operation::PlannedFailover {
                above.order(Operation::Commit, |_| {});
            }
        }
        assert_eq!((above.life.source, above.life.epoch.number), (IDS[0], 1 + 2 * circle));
    }
}

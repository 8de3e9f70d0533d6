//! One simulated agent: the shipped enrolment, channel, ledger and rules of the conversation,
//! over real TLS; in place of a hypervisor and a data path, points that come about by the
//! clock. What it keeps is in memory alone: an agent's disk is no cost of the vault.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, Release},
        },
    },
    time::{Duration, Instant, SystemTime},
};

use farshore_agent::managed::{
    Timing, Upstream, UpstreamError,
    decisions::{Contact, Kept, Ledger, Role, Step, source, step},
};
use farshore_control::{
    HostReport, Inventory, Key, Protection,
    report::{
        CycleFacts, CycleTotals, DiskFacts, HostFacts, MachineFacts, PointAge, ReplicaPhase, ReplicaState,
        SourcePhase, SourceState, Space, StorageClass,
    },
    request::{Action, Answer, Ending},
    sync::{Documents, POLL_SECS_MAX, Poll},
};
use farshore_types::{Consistency, HostId, MachineId, PointId};
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

/// Bytes of every machine's one disk.
const DISK: u64 = 40 << 30;
/// Bytes that a cycle sends.
const SENT: u64 = 3 << 20;
/// Milliseconds that a cycle takes.
const TOOK_MS: u64 = 850;
/// Bytes of room for replicas on every host, and bytes of it that are free.
const ROOM: (u64, u64) = (200 << 40, 150 << 40);

/// An odd number with bits all over.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// What agents have taken, told to who measures.
#[derive(Default)]
pub(super) struct Tally {
    /// Protections' documents, each time that one was another one than before.
    pub(super) taken: AtomicU64,
    /// When the last of them was, in milliseconds since the Unix epoch.
    pub(super) last_ms: AtomicU64,
}

/// A simulated agent.
pub(super) struct Agent {
    me: HostId,
    upstream: Arc<dyn Upstream>,
    timing: Timing,
    run: Uuid,
    begun: Instant,
    inventory: (String, Inventory),
    state: Mutex<State>,
    news: Notify,
    tally: Arc<Tally>,
}

struct State {
    ledger: Ledger,
    contact: Contact,
    /// Since when each protection is known here.
    since: BTreeMap<MachineId, u64>,
}

/// What the clock makes of a protection: its first and its newest point.
struct Points {
    count: u64,
    newest: PointAge,
    oldest: PointAge,
}

impl Agent {
    pub(super) fn new(
        me: HostId,
        upstream: Arc<dyn Upstream>,
        machines: impl Iterator<Item = u64>,
        tally: Arc<Tally>,
    ) -> Agent {
        let ledger = Ledger::restored(me, Kept::default());
        let state = State { ledger, contact: Contact::default(), since: BTreeMap::new() };
        Agent {
            me,
            upstream,
            timing: Timing::default(),
            run: Uuid::new_v4(),
            begun: Instant::now(),
            inventory: inventory(machines),
            state: Mutex::new(state),
            news: Notify::new(),
            tally,
        }
    }

    /// Talks to its site server for ever.
    pub(super) async fn talk(self: Arc<Agent>) {
        tokio::join!(self.documents(), self.reports());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn documents(&self) {
        let mut pause = self.timing.retry;
        loop {
            match self.poll().await {
                Ok(rest) => {
                    pause = self.timing.retry;
                    sleep(rest).await;
                }
                Err(_) => {
                    self.state().contact.failed(1, self.begun.elapsed());
                    sleep(pause).await;
                    pause = (pause * 2).min(self.timing.retry_most);
                }
            }
        }
    }

    /// One question; how long to rest before the next.
    async fn poll(&self) -> Result<Duration, UpstreamError> {
        let asked = self.begun.elapsed();
        let poll = {
            let state = self.state();
            let wait_secs = self.timing.poll.as_secs().min(POLL_SECS_MAX);
            Poll { cursor: state.contact.cursor(), term: state.ledger.term(), wait_secs }
        };
        let answer = self.upstream.poll(&poll).await?;
        let quick = self.begun.elapsed().saturating_sub(asked) < self.timing.retry
            && !answer.more
            && answer.documents.is_empty();
        self.take(&answer, asked);
        Ok(if quick { self.timing.retry } else { Duration::ZERO })
    }

    fn take(&self, answer: &Documents, asked: Duration) {
        let mut state = self.state();
        let taken = state.ledger.take(answer);
        state.contact.answered(answer.cursor, answer.clock_ms.map(|clock| (clock, asked)));
        let now = wall_ms();
        let mut protections = 0;
        for key in &taken.changed {
            if let Key::Protection(machine) = key {
                state.since.entry(*machine).or_insert(now);
                protections += 1;
            }
        }
        if protections > 0 {
            self.tally.last_ms.fetch_max(now, Relaxed);
            self.tally.taken.fetch_add(protections, Release);
        }
        if taken.dirty | self.do_requests(&mut state) {
            self.news.notify_one();
        }
    }

    /// Whether there was any.
    fn do_requests(&self, state: &mut State) -> bool {
        let now = self.begun.elapsed();
        let open = state.ledger.open_requests();
        let any = !open.is_empty();
        for (request, begun) in open {
            let seen = *state.contact.seen.entry(request.id).or_insert(now);
            let ending = match step(&request, begun, state.contact.vault_ms(seen, now)) {
                Step::Wait => continue,
                Step::End(ending) => ending,
                Step::Work => Ending::Done { answer: answer(&request.action) },
            };
            state.ledger.begin(request.id);
            state.ledger.end(request.id, ending);
        }
        any
    }

    async fn reports(&self) {
        let (mut sequence, mut pause) = (0, self.timing.retry);
        loop {
            sequence += 1;
            let rest = match self.tell(sequence).await {
                Ok(true) => Duration::ZERO,
                Ok(false) => {
                    pause = self.timing.retry;
                    self.timing.report
                }
                Err(_) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(self.timing.retry_most);
                    Duration::ZERO
                }
            };
            sleep(self.timing.report_gap).await;
            drop(tokio::time::timeout(rest, self.news.notified()).await);
        }
    }

    /// One report; whether another is wanted at once.
    async fn tell(&self, sequence: u64) -> Result<bool, UpstreamError> {
        let report = self.report(sequence);
        let begun = Instant::now();
        let reply = self.upstream.report(&report).await?;
        let mut state = self.state();
        state.contact.transit = begun.elapsed();
        state.contact.wants_documents = reply.wants_documents;
        state.contact.told_inventory = (!reply.wants_inventory).then(|| self.inventory.0.clone());
        state.ledger.acknowledge(&reply.acknowledged);
        let (whole, gave) = (report.inventory.is_some(), !report.documents.is_empty());
        Ok((reply.wants_inventory && !whole) || (reply.wants_documents && !gave))
    }

    fn report(&self, sequence: u64) -> HostReport {
        let (state, now) = (self.state(), wall_ms());
        let State { ledger, contact, since } = &*state;
        let since = |machine| since.get(&machine).copied().unwrap_or(now);
        let (digest, inventory) = &self.inventory;
        let told = contact.told_inventory.as_ref() == Some(digest);
        let documents = contact.wants_documents.then(|| ledger.holder().documents().cloned());
        HostReport {
            host: self.me,
            run: self.run,
            sequence,
            urgent: false,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            clock_ms: now,
            transit_ms: u64::try_from(contact.transit.as_millis()).unwrap_or(u64::MAX),
            certificate_until_ms: 0,
            inventory_digest: digest.clone(),
            inventory: (!told).then(|| inventory.clone()),
            space: ["replicas", "scratch"].map(space).into(),
            sources: ledger
                .protections()
                .filter_map(|p| source_state(ledger, p, since(p.machine), now))
                .collect(),
            replicas: (ledger.protections().filter(|p| p.target.host == self.me))
                .map(|p| replica_state(p, since(p.machine), now))
                .collect(),
            lineages: ledger.lineages().cloned().collect(),
            standings: Vec::new(),
            holds: ledger.holder().versions(),
            documents: documents.into_iter().flatten().collect(),
            unclaimed: Vec::new(),
            outcomes: ledger.outcomes().cloned().collect(),
            problems: Vec::new(),
        }
    }
}

/// What is told to a question.
fn answer(action: &Action) -> Answer {
    match action {
        Action::CheckPeer { .. } => Answer::Peer {
            setup_ms: 9,
            skew_ms: 0,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            free: ROOM.1,
        },
        Action::CheckStartable { .. } => Answer::Startable { problems: Vec::new() },
        Action::Definition { machine } => {
            Answer::Definition { text: format!("<domain><uuid>{machine}</uuid></domain>") }
        }
        _ => Answer::Done,
    }
}

fn source_state(ledger: &Ledger, p: &Protection, since: u64, now: u64) -> Option<SourceState> {
    let role = source(ledger, p, now, true)?;
    let points = points(p, since, now);
    let phase = match (role, &points) {
        (Role::Rest(_, phase), _) => phase,
        (Role::Run(_), Some(_)) => SourcePhase::Replicating,
        (Role::Run(_), None) => SourcePhase::Seeding { done: DISK / 2, total: DISK },
    };
    let cycles = points.as_ref().map_or(0, |points| points.count);
    let totals =
        CycleTotals { cycles, sent: cycles * SENT, took_ms: cycles * TOOK_MS, ..CycleTotals::default() };
    let newest = points.map(|points| points.newest);
    Some(SourceState {
        machine: p.machine,
        epoch: p.epoch,
        phase,
        newest,
        totals,
        last_cycle: newest.map(|point| CycleFacts {
            point: point.id,
            dirty: SENT,
            sent: SENT,
            took_ms: TOOK_MS,
        }),
        pending: 0,
        resynced: p.resync,
        notes: Vec::new(),
        apps: None,
    })
}

fn replica_state(p: &Protection, since: u64, now: u64) -> ReplicaState {
    let points = points(p, since, now);
    ReplicaState {
        machine: p.machine,
        name: p.name.clone(),
        epoch: p.epoch,
        phase: ReplicaPhase::Receiving,
        newest: points.as_ref().map(|points| points.newest),
        consistency: points.as_ref().map(|_| Consistency::Crash),
        oldest: points.as_ref().map(|points| points.oldest),
        points: points.as_ref().map_or(0, |points| points.count),
        stored: DISK / 3,
        faults: Vec::new(),
        own_writes: Vec::new(),
        newest_application: None,
    }
}

/// The points that there are by now. A point is made at every tick of the machine's own, and
/// its number is the second of that: both ends know it without talking to each other.
fn points(p: &Protection, since: u64, now: u64) -> Option<Points> {
    let every = p.settings.copy_frequency_secs.max(1) * 1000;
    let phase = u64::from(p.machine.0.as_fields().0) % every;
    // What is captured just now is not there before it was sent.
    let newest = now.checked_sub(TOOK_MS + phase)? / every * every + phase;
    let first = since.saturating_sub(phase).div_ceil(every) * every + phase;
    let count = newest.checked_sub(first)? / every + 1;
    let point = |at_ms: u64| PointAge {
        id: PointId { epoch: p.epoch.number, number: at_ms / 1000 },
        age_ms: now.saturating_sub(at_ms),
    };
    Some(Points { count, newest: point(newest), oldest: point(first) })
}

fn inventory(machines: impl Iterator<Item = u64>) -> (String, Inventory) {
    let host = HostFacts {
        hypervisor: "QEMU".to_owned(),
        hypervisor_version: "7.2.0".to_owned(),
        libvirt_version: "9.0.0".to_owned(),
        arch: "x86_64".to_owned(),
        cpus: 64,
        memory: 512 << 30,
    };
    let path = "/var/lib/farshore/replicas".to_owned();
    let storage = vec![StorageClass { name: "default".to_owned(), path, default: true }];
    let machines: Vec<MachineFacts> = machines.map(machine).collect();
    // No two hosts are told apart by it, and every content has its own.
    let digest = format!("{:064x}", machines.first().map_or(0, |machine| machine.id.0.as_u128()));
    (digest, Inventory { host, machines, networks: Vec::new(), storage })
}

fn machine(number: u64) -> MachineFacts {
    let disk = DiskFacts {
        key: "vda".parse().unwrap_or_else(|_| unreachable!("it is a disk's name")),
        size: DISK,
        allocated: None,
        format: "qcow2".to_owned(),
        storage: None,
        tracking: "bitmap".to_owned(),
        why: None,
    };
    MachineFacts {
        // Spread over all ids, so that their ticks are spread over time.
        id: MachineId(Uuid::from_u128(u128::from(number).wrapping_mul(SPREAD))),
        name: format!("machine-{number:04}"),
        power: "running".to_owned(),
        disks: vec![disk],
        networks: vec![None],
        cards: Vec::new(),
        brought_up_at: None,
        tpm: false,
    }
}

fn space(of: &str) -> Space {
    Space { path: format!("/var/lib/farshore/{of}"), of: of.to_owned(), free: ROOM.1, total: ROOM.0 }
}

/// Milliseconds since the Unix epoch.
pub(super) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

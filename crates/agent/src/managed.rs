//! The agent under a vault: keeps the documents it holds durable, makes what runs what they
//! want, does requests once, and reports what there is. It goes on when nobody answers.
//!
//! ```text
//! upstream ──poll──► talk ──► ledger (durable) ──► reconcile ──► rooms (sources), replicas
//!          ◄─report─ talk ◄── report ◄── what is seen           └► requests
//! ```
//!
//! Level-triggered: what to do is always derived from the whole ledger and from what runs,
//! never from what just arrived. What no document names goes on as it was (rule R5). This
//! module must never know how a message travels, nor decide who owns a machine.

mod actions;
mod admission;
mod age;
mod calendar;
mod contact;
pub mod decisions;
mod fencing;
mod inventory;
mod kept;
mod ledger;
mod life;
mod pace;
mod reconcile;
mod report;
mod requests;
mod room;
mod shown;
mod talk;
mod target;
mod upstream;
mod wanted;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use farshore_control::{
    TrustDocument,
    report::{Problem, SourceState},
};
use farshore_env::Files;
use farshore_types::{HostId, MachineId, RequestId};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

use crate::{Agent, AgentError, replicas::blocking};
use age::Aged;
use contact::Contact;
use kept::Kept;
use ledger::Ledger;
use report::Seen;
use room::Room;

pub(crate) use admission::unproved;
pub(crate) use inventory::space;
pub(crate) use report::certificate_until;
pub(crate) use shown::app_points;
pub use talk::run;
pub(crate) use target::check_proof;
pub use upstream::{Upstream, UpstreamError};
pub use wanted::Pruning;

/// How often a managed agent does things.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a question for documents is held where there is nothing new.
    pub poll: Duration,
    /// Pause after somebody did not answer; it grows to `retry_most`.
    pub retry: Duration,
    /// Longest such pause.
    pub retry_most: Duration,
    /// From one report to the next where nothing happens.
    pub report: Duration,
    /// Shortest time between two reports.
    pub report_gap: Duration,
    /// The same where only a new point is to be told; it is, of machines whose copy frequency
    /// is shorter than `report`: of the others, the usual report tells it soon enough.
    pub cycle_gap: Duration,
    /// How often the host is looked at, and everything compared with what is wanted.
    pub look: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            poll: Duration::from_secs(25),
            retry: Duration::from_secs(1),
            retry_most: Duration::from_secs(15),
            report: Duration::from_secs(10),
            report_gap: Duration::from_secs(1),
            cycle_gap: Duration::from_secs(2),
            look: Duration::from_secs(30),
        }
    }
}

/// What is worth a report.
#[derive(Default)]
struct News {
    /// Somebody waits for it: it is told without the usual gap.
    urgent: Notify,
    /// Whether the next report has something of that kind.
    is_urgent: AtomicBool,
    /// As soon as one may be made.
    soon: Notify,
    /// A new point of a machine that is copied often.
    cycle: Notify,
}

/// What makes an agent a managed one.
pub struct Managed {
    me: HostId,
    run: Uuid,
    timing: Timing,
    upstreams: Vec<Arc<dyn Upstream>>,
    files: Arc<dyn Files>,
    dir: PathBuf,
    ledger: Mutex<Ledger>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    /// Something else may be wanted.
    wanted: Notify,
    /// Something happened that is worth a report.
    news: Arc<News>,
    rooms: Mutex<BTreeMap<MachineId, Room>>,
    /// What rooms that were closed in this run knew of their newest point's age.
    left: Mutex<BTreeMap<MachineId, Aged>>,
    /// Bytes done and in all of requests under way.
    progress: Mutex<BTreeMap<RequestId, (u64, u64)>>,
    contact: Mutex<Contact>,
    begun: Instant,
    seen: Mutex<Seen>,
    /// Whether the hypervisor told of a change since the host was looked at.
    host_changed: AtomicBool,
    problems: Mutex<BTreeMap<String, Problem>>,
    /// What is being done about machines that have a life.
    acting: Mutex<life::Acting>,
}

impl Managed {
    /// Takes up what an earlier run kept in `dir`.
    ///
    /// # Errors
    /// Where that cannot be read, or is of a newer agent.
    pub(crate) fn open(
        me: HostId,
        upstreams: Vec<Arc<dyn Upstream>>,
        timing: Timing,
        files: Arc<dyn Files>,
        dir: PathBuf,
    ) -> Result<Managed, AgentError> {
        let (kept, damage) = Kept::load(&*files, &dir)?;
        let managed = Managed {
            me,
            run: Uuid::new_v4(),
            timing,
            upstreams,
            files,
            dir,
            ledger: Mutex::new(Ledger::restored(me, kept)),
            changing: tokio::sync::Mutex::default(),
            wanted: Notify::new(),
            news: Arc::default(),
            rooms: Mutex::default(),
            left: Mutex::default(),
            progress: Mutex::default(),
            contact: Mutex::default(),
            begun: Instant::now(),
            seen: Mutex::default(),
            host_changed: AtomicBool::new(false),
            problems: Mutex::default(),
            acting: Mutex::default(),
        };
        if let Some(what) = damage {
            tracing::error!(what, "what the vault wanted is asked for anew");
            let advice = "nothing is to be done where the vault still knows this host";
            managed.set_problem("records-damaged", Some((what, advice.to_owned())));
        }
        Ok(managed)
    }

    /// Which host this is.
    #[must_use]
    pub fn host(&self) -> HostId {
        self.me
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }

    /// Time since this run began: what the conversation is timed by.
    fn since_start(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Milliseconds that nobody above has answered; 0 while somebody does.
    pub(crate) fn silent_ms(&self) -> u64 {
        age::millis(locked(&self.contact).silent_for(self.since_start()))
    }

    /// What the vault wants replicated from here, with its names, as it is reported.
    pub(crate) fn source_states(&self, agent: &Agent) -> Vec<(String, SourceState)> {
        let now = now(agent);
        let states: Vec<SourceState> = locked(&self.rooms).values().map(|room| room.state(now)).collect();
        let ledger = self.ledger();
        let name = |machine: MachineId| ledger.protection(machine).map(|known| known.name.clone());
        states.into_iter().map(|one| (name(one.machine).unwrap_or_default(), one)).collect()
    }

    fn take_host_changed(&self) -> bool {
        self.host_changed.swap(false, Ordering::Relaxed)
    }

    /// Changes the ledger: durable first, then in force, then acted on. `change` says what it
    /// came to, and whether anything is to be made durable.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Ledger) -> (T, bool) + Send + 'static,
    ) -> Result<T, AgentError> {
        let _turn = self.changing.lock().await;
        let this = Arc::clone(self);
        let changed = move || {
            let mut next = this.ledger().clone();
            let (outcome, dirty) = change(&mut next);
            if dirty {
                next.kept().save(&*this.files, &this.dir)?;
                *this.ledger() = next;
            }
            Ok::<_, AgentError>((outcome, dirty))
        };
        let (outcome, dirty) = blocking(changed).await?;
        if dirty {
            self.wanted.notify_one();
            self.news.soon.notify_one();
        }
        Ok(outcome)
    }

    /// Something is wrong with the host as a whole, or is no more.
    pub(crate) fn set_problem(&self, code: &str, problem: Option<(String, String)>) {
        let mut problems = locked(&self.problems);
        match problem {
            Some((what, advice)) => {
                problems.insert(code.to_owned(), Problem { code: code.to_owned(), what, advice });
            }
            None => drop(problems.remove(code)),
        }
    }

    /// What networks of a machine's source are here, where the vault says so; what is not
    /// named is left unconnected.
    pub(crate) fn networks(&self, machine: MachineId) -> Option<BTreeMap<String, String>> {
        let ledger = self.ledger();
        let protection = ledger.protection(machine)?;
        // What comes up at the source came from the target.
        let back = protection.life.is_some() && protection.source.host == self.me;
        Some(if back { &protection.networks_back } else { &protection.networks }.clone())
    }

    /// The definition that a machine had when it left last, where this host is its home.
    pub(crate) fn home_definition(&self, agent: &Agent, machine: MachineId) -> Option<String> {
        let home = self.ledger().protection(machine)?.life.as_ref()?.home;
        (home == self.me).then(|| life::home_definition(agent, machine)).flatten()
    }

    /// Hosts that this one may meet and have a principal, and these.
    pub(crate) fn principals(&self) -> Vec<(String, String)> {
        let ledger = self.ledger();
        let peers = ledger.host().into_iter().flat_map(|host| &host.peers);
        peers.filter_map(|peer| Some((peer.name.clone(), peer.principal.clone()?))).collect()
    }

    /// Whom to trust, as the vault says.
    pub(crate) fn trust(&self) -> Option<TrustDocument> {
        self.ledger().trust().cloned()
    }

    /// Where a host's agent is, by the name in its certificate.
    pub(crate) fn address_of(&self, host: &str) -> Option<String> {
        let ledger = self.ledger();
        let peers = ledger.host().into_iter().flat_map(|host| &host.peers);
        let met = peers.map(|peer| (&peer.name, &peer.address));
        let ends = ledger.protections().flat_map(|p| [&p.source, &p.target]);
        let ends = ends.map(|end| (&end.name, &end.address));
        met.chain(ends).find(|(name, _)| *name == host).map(|(_, address)| address.clone())
    }

    /// Where replicas are that are not where all are.
    pub(crate) fn places(&self) -> Vec<(MachineId, PathBuf)> {
        self.ledger().places().iter().map(|(machine, place)| (*machine, place.clone())).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both clocks, at once.
fn now(agent: &Agent) -> (u64, Duration) {
    (agent.clock.wall_ms(), agent.clock.monotonic())
}

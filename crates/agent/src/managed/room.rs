//! One machine's source under a vault: runs a replicator while one is wanted, changes it when
//! something else is wanted, and tries again where it could not begin. This module must never
//! decide what is wanted.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use farshore_capture::{AppFrequency, CaptureError, Hurry, ResyncGate};
use farshore_control::report::{SourcePhase, SourceState};
use farshore_link::{LinkError, RateLimit};
use farshore_types::{Epoch, MachineId};
use farshore_wire::RefusalCode;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    News,
    age::Aged,
    calendar::{self, LocalTime},
    shown::{Shown, Told},
    wanted::{Role, Wanted},
};
use crate::{
    Agent, AgentError,
    source::{self, Orders, Owner, Running},
};

/// Pauses before the next try after one that could not even begin, or that ended with what a
/// person has to mend, in seconds; then the last one again and again.
const RETRY_SECS: [u64; 6] = [1, 2, 5, 15, 60, 300];
/// How often the calendar is looked at.
const CALENDAR: Duration = Duration::from_secs(10);

/// One machine's source.
pub(super) struct Room {
    role: watch::Sender<Role>,
    shown: Arc<Mutex<Shown>>,
    hurry: Hurry,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

/// What ended a turn.
enum End {
    /// Something else is wanted.
    Changed,
    /// The agent stops, or the room is given up.
    Stopped,
    /// It could not go on.
    Failed {
        why: String,
        /// Trying again does not help: the machine has another owner, or runs elsewhere.
        lost: bool,
    },
}

struct Work {
    agent: Arc<Agent>,
    role: watch::Receiver<Role>,
    shown: Arc<Mutex<Shown>>,
    news: Arc<News>,
    hurry: Hurry,
    stop: CancellationToken,
}

impl Room {
    /// Begins to see to a machine; `news` is told of what is worth a report. `aged` is what an
    /// earlier room of this run knew of its newest point's age.
    pub(super) fn open(
        agent: &Arc<Agent>,
        machine: MachineId,
        role: Role,
        news: Arc<News>,
        aged: Aged,
    ) -> Room {
        let shown = Arc::new(Mutex::new(Shown::new(machine, role.epoch(), aged)));
        let (stop, hurry) = (CancellationToken::new(), Hurry::default());
        let (role, wanted) = watch::channel(role);
        let work = Work {
            agent: Arc::clone(agent),
            role: wanted,
            shown: Arc::clone(&shown),
            news,
            hurry: hurry.clone(),
            stop: stop.clone(),
        };
        Room { role, shown, hurry, stop, work: tokio::spawn(work.run()) }
    }

    /// Something else may be wanted.
    pub(super) fn want(&self, role: Role) {
        self.role.send_if_modified(|held| {
            let changed = *held != role;
            *held = role;
            changed
        });
    }

    /// The next cycle begins at once.
    pub(super) fn hurry(&self) {
        self.hurry.now();
    }

    /// When its cycles begin, to be told from outside.
    pub(super) fn pace(&self) -> Hurry {
        self.hurry.clone()
    }

    /// As it is reported.
    pub(super) fn state(&self, now: (u64, Duration)) -> SourceState {
        locked(&self.shown).state(now)
    }

    /// What it knows of its newest point's age.
    pub(super) fn aged(&self) -> Aged {
        locked(&self.shown).aged()
    }

    /// Ends it in good order: cycles and sessions are over when this returns.
    pub(super) async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.work.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl Role {
    fn epoch(&self) -> Epoch {
        match self {
            Role::Run(wanted) => wanted.epoch,
            Role::Rest(epoch, _) => *epoch,
        }
    }
}

impl Work {
    async fn run(mut self) {
        let mut failures = 0;
        while !self.stop.is_cancelled() {
            let role = self.role.borrow_and_update().clone();
            let end = match role {
                Role::Rest(epoch, phase) => {
                    locked(&self.shown).rest(epoch, phase);
                    self.news.soon.notify_one();
                    self.changed(None).await
                }
                Role::Run(wanted) => self.replicate(&wanted, &mut failures).await,
            };
            match end {
                End::Stopped => return,
                End::Changed => failures = 0,
                End::Failed { why, lost } => {
                    let pause = RETRY_SECS[usize::min(failures, RETRY_SECS.len() - 1)];
                    failures += 1;
                    tracing::warn!(why, lost, retry_in_secs = pause, "a protected machine is not replicated");
                    locked(&self.shown).set_phase(SourcePhase::Failed { why });
                    self.news.soon.notify_one();
                    let pause = (!lost).then_some(Duration::from_secs(pause));
                    if let End::Stopped = self.changed(pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits until something else is wanted, or a pause is over.
    async fn changed(&mut self, pause: Option<Duration>) -> End {
        let pause = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.role.changed() => if changed.is_ok() { End::Changed } else { End::Stopped },
            () = pause => End::Changed,
            () = self.stop.cancelled() => End::Stopped,
        }
    }

    async fn replicate(&mut self, wanted: &Wanted, failures: &mut usize) -> End {
        locked(&self.shown).begin(wanted.epoch);
        let rate = RateLimit::new(None);
        let gate = ResyncGate::default();
        let apps = AppFrequency::default();
        follow_calendar(&self.agent, wanted, &rate, &gate);
        follow_policy(wanted, &apps);
        let orders = Orders {
            resync: wanted.resync,
            gate: gate.clone(),
            hurry: self.hurry.clone(),
            rate: Some(rate.clone()),
            apps: Some(apps.clone()),
            wire: Some(wanted.settings.wire),
        };
        let begun = tokio::select! {
            begun = begin(&self.agent, wanted, orders) => begun,
            () = self.stop.cancelled() => return End::Stopped,
        };
        let mut running = match begun {
            Ok(running) => running,
            Err(error) => return End::Failed { why: told(&error), lost: false },
        };
        let mut wanted = wanted.clone();
        let mut status = running.source.status.clone();
        let mut tick = tokio::time::interval(CALENDAR);
        let end = loop {
            tokio::select! {
                ended = running.ended() => return self.ended(ended, &status.borrow().clone()),
                Ok(()) = status.changed() => {
                    let status = status.borrow_and_update().clone();
                    if status.last_cycle.is_some() {
                        *failures = 0;
                    }
                    let told = locked(&self.shown).update(&status, super::now(&self.agent));
                    match told {
                        Told::Soon => self.news.soon.notify_one(),
                        Told::Point if self.is_copied_often(&wanted) => self.news.cycle.notify_one(),
                        Told::Point | Told::Later => {}
                    }
                }
                changed = self.role.changed() => match (changed, &*self.role.borrow_and_update()) {
                    (Ok(()), Role::Run(next)) if wanted.goes_on_as(next) => {
                        wanted = (**next).clone();
                        follow_calendar(&self.agent, &wanted, &rate, &gate);
                        follow_policy(&wanted, &apps);
                    }
                    (Ok(()), _) => break End::Changed,
                    (Err(_), _) => break End::Stopped,
                },
                _ = tick.tick() => follow_calendar(&self.agent, &wanted, &rate, &gate),
                () = self.stop.cancelled() => break End::Stopped,
            }
        };
        running.stop.cancel();
        if let Err(error) = running.ended().await {
            tracing::warn!(machine = wanted.name, error = error.fault().what, "while it was stopped");
        }
        locked(&self.shown).update(&status.borrow().clone(), super::now(&self.agent));
        end
    }

    /// Whether the usual report would tell of a point only when it is old by its measure.
    fn is_copied_often(&self, wanted: &Wanted) -> bool {
        let report = self.agent.managed().map(|managed| managed.timing.report);
        report.is_some_and(|report| Duration::from_secs(wanted.settings.copy_frequency_secs) < report)
    }

    fn ended(&self, ended: Result<(), AgentError>, status: &farshore_capture::Status) -> End {
        locked(&self.shown).update(status, super::now(&self.agent));
        match ended {
            Ok(()) => End::Stopped,
            Err(error) => End::Failed { why: told(&error), lost: is_lost(&error) },
        }
    }
}

async fn begin(agent: &Arc<Agent>, wanted: &Wanted, orders: Orders) -> Result<Running, AgentError> {
    let hypervisor = agent.hypervisor().await?;
    let machine = hypervisor.machine(wanted.machine).await?;
    let settings = wanted.replicate();
    let owner = Owner::assigned(agent, wanted.machine, &settings.target, wanted.epoch)?;
    source::begin(agent, hypervisor, &machine, settings, &owner, orders)
}

fn follow_calendar(agent: &Agent, wanted: &Wanted, rate: &RateLimit, gate: &ResyncGate) {
    let now = LocalTime::of(agent.clock.wall_ms());
    let limit = calendar::bandwidth(&wanted.settings, now);
    if rate.get() != limit {
        rate.set(limit);
    }
    gate.set(calendar::resync_may_begin(&wanted.settings, now));
}

fn follow_policy(wanted: &Wanted, apps: &AppFrequency) {
    apps.set(wanted.settings.app_consistent_secs.map(Duration::from_secs));
}

/// Whether only another document, or a person, can change it.
fn is_lost(error: &AgentError) -> bool {
    let AgentError::Capture(CaptureError::Link(LinkError::Refused { refusal, .. })) = error else {
        return false;
    };
    matches!(refusal.code, RefusalCode::OlderEpoch | RefusalCode::EpochConflict | RefusalCode::BroughtUp)
}

fn told(error: &AgentError) -> String {
    let fault = error.fault();
    match fault.advice.is_empty() {
        true => fault.what,
        false => format!("{}: {}", fault.what, fault.advice),
    }
}

fn locked(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

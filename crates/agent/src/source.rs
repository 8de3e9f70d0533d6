//! The source's role: one replicator per machine that this host replicates, watched over
//! and never two for one machine. This module must never know what a cycle does.

mod owner;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use farshore_capture::{
    Activity, AppFrequency, Hurry, Parts, Places, Replicator, ResyncGate, Settings, Status,
};
use farshore_control::Wire;
use farshore_hypervisor::Machine;
use farshore_link::{Dial, Endpoint, RateLimit, TlsDial, limits::HANDSHAKE_DEADLINE};
use farshore_types::MachineId;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    Agent, AgentError,
    config::{Compression, Replicate, SmallWrites, Target},
    control::SourceLine,
};

pub(crate) use owner::{Owner, dir_of};

/// Pause before a replication that could not even begin is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// This program's name and version, for the target's log.
const AGENT: &str = concat!("farshore-agent ", env!("CARGO_PKG_VERSION"));

/// The replications of this host.
#[derive(Default)]
pub struct Sources(Mutex<Listed>);

#[derive(Default)]
struct Listed {
    begun: Vec<Arc<Source>>,
    /// Configured ones that could not begin, and why.
    stuck: Vec<(Replicate, String)>,
}

/// One replication, as far as others see it.
pub(crate) struct Source {
    pub(crate) settings: Replicate,
    pub(crate) machine: MachineId,
    pub(crate) status: watch::Receiver<Status>,
}

/// A replication that runs. It ends when stopped; dropping it stops it, too.
pub(crate) struct Running {
    pub(crate) source: Arc<Source>,
    pub(crate) stop: CancellationToken,
    work: JoinHandle<Result<(), farshore_capture::CaptureError>>,
    agent: Arc<Agent>,
}

impl Sources {
    /// What all of them do now.
    #[must_use]
    pub fn lines(&self, now_ms: u64) -> Vec<SourceLine> {
        let list = self.list();
        let begun = list.begun.iter().map(|source| source.line(now_ms));
        let stuck = list.stuck.iter().map(|(settings, why)| SourceLine {
            state: "cannot begin".to_owned(),
            fault: Some(why.clone()),
            ..blank_line(settings)
        });
        begun.chain(stuck).collect()
    }

    /// All that have begun.
    pub(crate) fn begun(&self) -> Vec<Arc<Source>> {
        self.list().begun.clone()
    }

    pub(crate) fn of(&self, machine: MachineId) -> Option<Arc<Source>> {
        self.list().begun.iter().find(|source| source.machine == machine).cloned()
    }

    /// Takes a machine's place; false where it is taken.
    fn enter(&self, source: &Arc<Source>) -> bool {
        let mut list = self.list();
        let free = list.begun.iter().all(|other| other.machine != source.machine);
        if free {
            list.begun.push(Arc::clone(source));
        }
        free
    }

    fn leave(&self, source: &Arc<Source>) {
        self.list().begun.retain(|other| !Arc::ptr_eq(other, source));
    }

    /// Why a configured machine could not begin; none: it did.
    fn set_stuck(&self, settings: &Replicate, why: Option<String>) {
        let mut list = self.list();
        list.stuck.retain(|(other, _)| other != settings);
        list.stuck.extend(why.map(|why| (settings.clone(), why)));
    }

    fn list(&self) -> MutexGuard<'_, Listed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn line(&self, now_ms: u64) -> SourceLine {
        let status = self.status.borrow().clone();
        let (state, fault) = told(&status.activity);
        let apps = || {
            status
                .apps
                .unthawed
                .clone()
                .or_else(|| Some(format!("crash-consistent only: {}", status.apps.fault.as_ref()?)))
        };
        let fault = fault.or_else(apps);
        SourceLine {
            id: Some(self.machine),
            state,
            rpo_ms: status.rpo_ms(now_ms),
            fault,
            details: serde_json::to_value(&status).unwrap_or_default(),
            ..blank_line(&self.settings)
        }
    }
}

/// What is known of a replication before it begins.
fn blank_line(settings: &Replicate) -> SourceLine {
    SourceLine {
        machine: settings.machine.clone(),
        id: None,
        target: settings.target.server_name.clone(),
        frequency_ms: u64::try_from(settings.frequency.0.as_millis()).unwrap_or(u64::MAX),
        state: String::new(),
        rpo_ms: None,
        fault: None,
        details: serde_json::Value::Null,
    }
}

/// An activity in a few words, and what stands in the way.
pub(crate) fn told(activity: &Activity) -> (String, Option<String>) {
    let (word, why) = match activity {
        Activity::Starting => ("starting", None),
        Activity::Connecting => ("connecting", None),
        Activity::InitialReplication { .. } => ("initial replication", None),
        Activity::Resynchronizing { why, .. } => ("resynchronizing", Some(why)),
        Activity::ResyncNeeded { why } => ("resync needed", Some(why)),
        Activity::Replicating => ("replicating", None),
        Activity::Off => ("machine is off, replicated", None),
        Activity::Waiting { why } => ("waiting", Some(why)),
        Activity::Retrying { why, .. } => ("retrying", Some(why)),
        Activity::Failed { why } => ("failed", Some(why)),
        Activity::Stopped => ("stopped", None),
    };
    (word.to_owned(), why.cloned())
}

/// What a replication is told besides its configuration.
#[derive(Default)]
pub(crate) struct Orders {
    /// How often a resync has been asked for.
    pub(crate) resync: u64,
    /// Whether one may begin by itself.
    pub(crate) gate: ResyncGate,
    /// Asks for a cycle out of turn.
    pub(crate) hurry: Hurry,
    /// A limit that somebody changes while it runs; none: the configured one.
    pub(crate) rate: Option<RateLimit>,
    /// How often a point is to be application-consistent, where somebody changes that while it
    /// runs; none: as configured.
    pub(crate) apps: Option<AppFrequency>,
    /// By what the two hosts know each other; none: as this host's configuration says.
    pub(crate) wire: Option<Wire>,
}

/// Begins to replicate a machine.
///
/// # Errors
/// What can be known before the first session; [`AgentError::Request`] where it is
/// replicated already.
pub(crate) fn begin(
    agent: &Arc<Agent>,
    hypervisor: Arc<dyn farshore_hypervisor::Hypervisor>,
    machine: &Machine,
    settings: Replicate,
    owner: &Owner,
    orders: Orders,
) -> Result<Running, AgentError> {
    let config = agent.config();
    let parts = Parts {
        hypervisor,
        dial: dial(agent, &settings.target, orders.wire)?,
        files: Arc::clone(&agent.files),
        clock: Arc::clone(&agent.clock),
        machine: machine.id,
        epoch: owner.epoch,
        agent: format!("{} on {}", AGENT, config.name),
        settings: capture_settings(&settings, orders),
        places: Places {
            state: owner.dir().to_owned(),
            runtime: config.runtime_dir.join(machine.id.to_string()),
        },
    };
    let (status, state) = watch::channel(Status::default());
    let source = Arc::new(Source { settings, machine: machine.id, status: state });
    if !agent.sources().enter(&source) {
        return Err(AgentError::Request {
            what: format!("machine '{}' is being replicated already", machine.name),
            advice: "see `status`; stop the other one first".to_owned(),
        });
    }
    let replicator = Replicator::new(parts).inspect_err(|_| agent.sources().leave(&source))?;
    let (stop, mut real) = (CancellationToken::new(), replicator.status());
    status.send_replace(real.borrow_and_update().clone());
    let token = stop.clone();
    let work = tokio::spawn(async move {
        let run = replicator.run(token);
        tokio::pin!(run);
        loop {
            tokio::select! {
                done = &mut run => {
                    status.send_replace(real.borrow().clone());
                    return done;
                }
                Ok(()) = real.changed() => drop(status.send_replace(real.borrow_and_update().clone())),
            }
        }
    });
    Ok(Running { source, stop, work, agent: Arc::clone(agent) })
}

impl Running {
    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> Result<(), AgentError> {
        match (&mut self.work).await {
            Ok(result) => Ok(result?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        self.agent.sources().leave(&self.source);
    }
}

/// How a target is reached, as this host.
pub(crate) fn dial(agent: &Agent, target: &Target, wire: Option<Wire>) -> Result<Arc<dyn Dial>, AgentError> {
    let endpoint = Endpoint { address: target.address.clone(), server_name: target.server_name.clone() };
    if wire.unwrap_or_else(|| agent.config().wire_of(&target.server_name)) == Wire::Kerberos {
        return Ok(Arc::new(agent.kerberos().dial(endpoint, HANDSHAKE_DEADLINE)?));
    }
    let identity = agent.identity()?;
    identity.check_time()?;
    Ok(Arc::new(TlsDial::new(endpoint, identity, HANDSHAKE_DEADLINE)))
}

fn capture_settings(settings: &Replicate, orders: Orders) -> Settings {
    Settings {
        frequency: settings.frequency.0,
        compression: match settings.compression {
            Compression::Auto => farshore_capture::Compression::Auto,
            Compression::On => farshore_capture::Compression::On,
            Compression::Off => farshore_capture::Compression::Off,
        },
        small_writes: settings.small_writes == SmallWrites::On,
        excluded: settings.exclude.iter().cloned().collect(),
        resync: orders.resync,
        resync_gate: orders.gate,
        hurry: orders.hurry,
        apps: orders.apps.unwrap_or_else(|| AppFrequency::new(settings.app_consistent.map(|p| p.0))),
        rate: orders.rate.unwrap_or_else(|| RateLimit::new(settings.bandwidth)),
        ..Settings::default()
    }
}

/// Keeps one configured machine replicated until stopped. A replication that cannot begin
/// is tried again; one that needs a person stands until the agent is started anew.
pub(crate) async fn supervise(agent: Arc<Agent>, settings: Replicate, stop: CancellationToken) {
    loop {
        let attempt = async {
            let hypervisor = agent.hypervisor().await?;
            let machine = hypervisor.find(&settings.machine).await?;
            let owner = Owner::open(&agent, machine.id, &settings.target)?;
            begin(&agent, hypervisor, &machine, settings.clone(), &owner, Orders::default())
        };
        match attempt.await {
            Ok(running) => {
                agent.sources().set_stuck(&settings, None);
                return oversee(running, &stop).await;
            }
            Err(error) => {
                let fault = error.fault();
                agent.sources().set_stuck(&settings, Some(fault.what.clone()));
                tracing::error!(
                    machine = settings.machine,
                    error = fault.what,
                    advice = fault.advice,
                    "cannot replicate"
                );
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

async fn oversee(mut running: Running, stop: &CancellationToken) {
    let asked = running.stop.clone();
    let ended = tokio::select! {
        ended = running.ended() => ended,
        () = stop.cancelled() => {
            asked.cancel();
            running.ended().await
        }
    };
    if let Err(error) = ended {
        let machine = &running.source.settings.machine;
        tracing::error!(machine, error = error.fault().what, "replication stands until a person acts");
        // It stays listed with its fault until the agent ends.
        stop.cancelled().await;
    }
}

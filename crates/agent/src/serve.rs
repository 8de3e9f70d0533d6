//! The agent that runs on: all roles at once, until asked to stop. This module must never
//! do a role's work itself.

use std::{ffi::OsString, sync::Arc, time::Duration};

use farshore_hypervisor::Kind;
use farshore_link::{Proofs, ServerLimits};
use farshore_replica::{Phase, ReplicaError};
use farshore_types::MachineId;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Agent, AgentError, OpenReplica, ReplicaSink, control, kerberos, lock::Lock, managed, membership, metrics,
    scrub, source, target, thaw, watchdog::Watchdog,
};

/// How long a replica that somebody else holds is waited for, and how often it is looked at.
const HELD_FOR: Duration = Duration::from_secs(10);
const HELD_LOOK: Duration = Duration::from_millis(100);

/// Runs an agent until `stop` is cancelled; then cycles end, sessions close and backups
/// are given up in good order. `watchdog` is the command line of a watchdog, if one is
/// wanted.
///
/// # Errors
/// What keeps it from starting at all; later faults are logged and mended or shown by
/// `status`.
pub async fn serve(
    agent: Arc<Agent>,
    watchdog: Option<Vec<OsString>>,
    stop: CancellationToken,
) -> Result<(), AgentError> {
    let config = agent.config().clone();
    let _lock = Lock::take(&*agent.files, &config).await?;
    for dir in [&config.runtime_dir, &config.replica_dir] {
        agent.files.create_dir_all(dir).map_err(AgentError::io("create", dir))?;
    }
    let listener = listen(&agent).await?;
    let commands = control::bind(&config.socket_path())?;
    let watchdog = watchdog.map(|command| Watchdog::spawn(&command)).transpose()?;

    let tasks = TaskTracker::new();
    if let Some((listener, proofs)) = listener {
        let address = listener.local_addr().map_or_else(|_| config.listen.clone(), |at| at.to_string());
        tracing::info!(host = config.name, address, "taking replication from other hosts");
        let sink = Arc::new(ReplicaSink::of(&agent));
        tasks.spawn(farshore_link::serve(listener, proofs, sink, ServerLimits::default(), stop.clone()));
    }
    tasks.spawn(target::upkeep(Arc::clone(agent.replicas()), config.retention.retention(), stop.clone()));
    let (files, clock) = (Arc::clone(&agent.files), Arc::clone(&agent.clock));
    let replicas = Arc::clone(agent.replicas());
    tasks.spawn(scrub::scrub(replicas, files, clock, config.scrub_interval.0, stop.clone()));
    // Before any guest is frozen anew.
    tasks.spawn(thaw::begin(&agent, stop.clone()));
    for settings in &config.replicate {
        tasks.spawn(source::supervise(Arc::clone(&agent), settings.clone(), stop.clone()));
    }
    tasks.spawn_blocking(farshore_link::warm_up);
    if let Err(error) = kerberos::check(&agent).await {
        let fault = error.fault();
        tracing::error!(error = fault.what, advice = fault.advice, "no session by Kerberos can be had");
    }
    tasks.spawn(take_up(Arc::clone(&agent), stop.clone()));
    if let Some(managed) = agent.managed() {
        tasks.spawn(managed::run(Arc::clone(&agent), Arc::clone(managed), stop.clone()));
    }
    if let Some(membership) = agent.membership() {
        tasks.spawn(membership::upkeep(Arc::clone(&agent), Arc::clone(membership), stop.clone()));
    }
    if let Some(address) = &config.metrics_listen {
        let address = metrics::serve(address, &agent, &stop).await?;
        tracing::info!(%address, "figures for Prometheus are at /metrics");
    }
    tasks.spawn(control::serve(commands, Arc::clone(&agent), stop.clone()));
    tracing::info!(host = config.name, socket = %config.socket_path().display(), "ready");
    stop.cancelled().await;
    tracing::info!("stopping");
    tasks.close();
    tasks.wait().await;
    // Nobody answers there any more: a command must not wait for us.
    drop(agent.files.remove(&config.socket_path()));
    if let Some(watchdog) = watchdog {
        watchdog.let_go(&agent).await;
    }
    Ok(())
}

/// Makes ready what is here already.
async fn take_up(agent: Arc<Agent>, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        tokio::join!(warm_up(Arc::clone(&agent)), open_replicas(&agent));
    })
    .await;
}

/// Opens every replica: that finishes what a crash cut, and only what is open is looked
/// after. A machine whose disks are ready and that this host does not have is named: whether
/// it is to run is for people to say.
async fn open_replicas(agent: &Arc<Agent>) {
    let machines = agent.replicas().machines().unwrap_or_else(|error| {
        tracing::error!(error = error.fault().what, "cannot look for replicas");
        Vec::new()
    });
    for id in machines {
        let Some(replica) = open_replica(agent, id).await else { continue };
        let (phase, machine) = replica.run(|store| (store.phase(), store.name().to_owned())).await;
        let (Phase::BroughtUp { point } | Phase::BringingUp { point }) = phase else { continue };
        let Ok(hypervisor) = agent.hypervisor().await else { continue };
        if hypervisor.machine(id).await.is_err_and(|e| e.kind == Kind::NoSuchMachine) {
            tracing::warn!(
                machine,
                %point,
                "its disks are set to the point, but this host does not have the machine: repeat \
                 `bring-up`, or `discard` it"
            );
        }
    }
}

/// A command that looked before this agent ran may hold it for a moment more.
async fn open_replica(agent: &Arc<Agent>, id: MachineId) -> Option<Arc<OpenReplica>> {
    let begun = tokio::time::Instant::now();
    loop {
        match agent.replicas().get_or_create(id).await {
            Ok(replica) => return Some(replica),
            Err(AgentError::Replica(ReplicaError::Locked { .. })) if begun.elapsed() < HELD_FOR => {
                tokio::time::sleep(HELD_LOOK).await;
            }
            Err(error) => {
                tracing::error!(machine = %id, error = error.fault().what, "this replica cannot be used");
                return None;
            }
        }
    }
}

/// Connects to the hypervisor before it is needed: libvirt looks at every emulator of the
/// host first, which takes seconds that a bring-up does not have.
async fn warm_up(agent: Arc<Agent>) {
    let look = async { Ok::<_, AgentError>(agent.hypervisor().await?.host_facts().await?) };
    match look.await {
        Ok(facts) => {
            tracing::info!(hypervisor = facts.hypervisor, version = facts.qemu_version, "hypervisor ready");
        }
        Err(error) => {
            tracing::warn!(error = error.fault().what, "no hypervisor: replicas are kept all the same");
        }
    }
}

/// Where sources are listened for, and as whom; none where this host is no target.
async fn listen(agent: &Agent) -> Result<Option<(TcpListener, Proofs)>, AgentError> {
    let address = &agent.config().listen;
    if address.is_empty() {
        return Ok(None);
    }
    let listener = TcpListener::bind(address).await.map_err(|error| AgentError::Request {
        what: format!("cannot listen on {address}: {error}"),
        advice: "choose a free address with `listen`, or stop what uses it".to_owned(),
    })?;
    let identity = agent.identity()?;
    identity.check_time()?;
    let kerberos = agent.kerberos().accepting()?;
    Ok(Some((listener, Proofs { identity, kerberos })))
}

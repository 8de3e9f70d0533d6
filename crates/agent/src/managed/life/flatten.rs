//! Disks that stand on the replica get everything they read from it into their own images, so
//! that the machine reads at full speed: a block pull on one disk after the other, while it runs.
//! What is asked for is looked at again and again: after a crash of the agent the pull that goes
//! on in the hypervisor is found, and one that went with its machine is begun again; what was
//! pulled stays. This module must never end a block job that is not ours, and never let overlays
//! grow until the guest stands still.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use farshore_capture::bug::{self, Bug};
use farshore_control::{report::Problem, standing::Flattening};
use farshore_hypervisor::{BlockJob, Disk, Kind, Machine};
use farshore_protection::{Life, Want};
use farshore_types::{DiskKey, MachineId};

use super::{
    super::{Managed, ledger::Ledger, locked},
    Side,
    look::Seen,
    turn,
};
use crate::{Agent, AgentError};

/// How often it is looked how far it is.
const POLL: Duration = Duration::from_secs(1);
/// Pause before what did not go is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// What the hypervisor calls a pull.
const PULL: &str = "pull";

/// What is next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// All is done.
    Flat,
    /// A pull of ours runs.
    Wait,
    /// This disk's is to be begun.
    Begin(DiskKey),
    /// It does not go on, and why.
    Stands(Problem),
}

/// Machines of which disks may be on their way, or are wanted to be.
pub(super) fn machines(managed: &Managed) -> BTreeSet<MachineId> {
    let ledger = managed.ledger();
    let mine = |life: &Life| life.source == managed.host() && life.wanted().flatten;
    let wanted = ledger.protections().filter(|p| p.life.as_ref().is_some_and(mine)).map(|p| p.machine);
    let begun = ledger.stations().filter(|station| station.flattening).map(|station| station.machine);
    let mut machines: BTreeSet<MachineId> = wanted.chain(begun).collect();
    drop(ledger);
    machines.extend(locked(&managed.acting).flattening.keys());
    machines
}

/// Sees to one until nothing is wanted of it, or all is done.
pub(super) async fn see_to(agent: &Arc<Agent>, managed: &Arc<Managed>, machine: MachineId) {
    loop {
        let pause = match look(agent, managed, machine).await {
            Ok(None) => return,
            Ok(Some(pause)) => pause,
            Err(error) => {
                let fault = error.fault();
                let told = Problem { code: "cannot".to_owned(), what: fault.what, advice: fault.advice };
                managed.set_flattening_failed(machine, told);
                AGAIN
            }
        };
        managed.rest((machine, Side::Flatten), pause).await;
    }
}

async fn look(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    machine: MachineId,
) -> Result<Option<Duration>, AgentError> {
    match managed.look_at(agent, machine).await? {
        Some(seen) => settle(agent, managed, &seen).await,
        None => {
            if managed.ledger().station(machine).flattening && managed.ledger().is_removed(machine) {
                end_of_removed(agent, managed, machine).await?;
            }
            managed.set_flattening(machine, None);
            Ok(None)
        }
    }
}

/// With its protection nobody looks any more how much room there is: what runs of it is ended.
async fn end_of_removed(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    machine: MachineId,
) -> Result<(), AgentError> {
    let there = match agent.hypervisor().await?.machine(machine).await {
        Err(error) if error.kind == Kind::NoSuchMachine => None,
        found => Some(found?),
    };
    end(agent, managed, machine, there.as_ref()).await?;
    tracing::info!(%machine, "its disks are not made its own any more: its protection is over");
    note(managed, machine, false).await
}

/// Does the next thing; in which time it is to be looked at again. Where nobody asks for it any
/// more, what runs is ended, and what was copied stays. It rests while the machine is handed over.
async fn settle(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
) -> Result<Option<Duration>, AgentError> {
    let machine = seen.protection.machine;
    let me = managed.host();
    let owned = seen.wanted.owner == me && seen.lineage.owner == me;
    if !seen.wanted.flatten || !owned || matches!(seen.mine, Want::HandOver { .. }) {
        if seen.station.flattening {
            end(agent, managed, machine, seen.there.as_ref()).await?;
            note(managed, machine, false).await?;
        }
        managed.set_flattening(machine, None);
        return Ok(None);
    }
    let look = Look::now(agent, seen).await?;
    let (pause, failed) = match next(agent, managed, seen, &look).await? {
        Next::Flat => {
            note(managed, machine, false).await?;
            (None, None)
        }
        Next::Wait => (Some(POLL), None),
        Next::Begin(disk) => {
            note(managed, machine, true).await?;
            match begin(agent, managed, seen, &look, &disk).await? {
                None => (Some(POLL), None),
                Some(problem) => (Some(AGAIN), Some(problem)),
            }
        }
        Next::Stands(problem) => (Some(AGAIN), Some(problem)),
    };
    let (done, total) = look.progress();
    let flat = pause.is_none();
    managed.set_flattening(machine, Some(Flattening { done, total, flat, failed }));
    Ok(pause)
}

/// The machine at one look.
struct Look {
    there: Option<Machine>,
    /// Its disks that stand on the replica here.
    layered: Vec<DiskKey>,
    jobs: Vec<BlockJob>,
}

impl Look {
    /// Jobs before disks: one that ends in between has made its disk stand alone.
    async fn now(agent: &Agent, seen: &Seen) -> Result<Look, AgentError> {
        let Some(there) = &seen.there else {
            return Ok(Look { there: None, layered: Vec::new(), jobs: Vec::new() });
        };
        let hypervisor = agent.hypervisor().await?;
        let jobs = hypervisor.block_jobs(there.id).await?;
        let there = hypervisor.machine(there.id).await?;
        Ok(Look { layered: layered(agent, &there), there: Some(there), jobs })
    }

    /// Bytes done and in all, of all disks that are replicated.
    fn progress(&self) -> (u64, u64) {
        let (mut done, mut total) = (0, 0);
        for disk in self.there.iter().flat_map(|there| &there.disks).filter(|d| d.tracking.replicates()) {
            let mut jobs = self.jobs.iter().filter(|job| job.what == PULL && job.total > 0);
            total += disk.size;
            done += match jobs.find(|job| job.disk == disk.key) {
                _ if !self.layered.contains(&disk.key) => disk.size,
                // A job counts in units of its own.
                Some(job) => {
                    let part = u128::from(disk.size) * u128::from(job.done) / u128::from(job.total);
                    u64::try_from(part).unwrap_or(disk.size).min(disk.size)
                }
                None => 0,
            };
        }
        (done, total)
    }
}

/// The machine's disks that stand on the replica here.
pub(super) fn layered(agent: &Agent, there: &Machine) -> Vec<DiskKey> {
    let dir = agent.replicas().dir_of(there.id);
    let ours = |disk: &&Disk| disk.layered && disk.path.as_deref().is_some_and(|path| path.starts_with(&dir));
    there.disks.iter().filter(ours).map(|disk| disk.key.clone()).collect()
}

async fn next(agent: &Agent, managed: &Managed, seen: &Seen, look: &Look) -> Result<Next, AgentError> {
    let machine = seen.protection.machine;
    let Look { there, layered, jobs } = look;
    let Some(there) = there else {
        return Ok(stands("gone", "this host does not have the machine", "define it again, or stop this"));
    };
    if turn::own_disks_of(agent, seen) == turn::OwnDisks::Strange {
        let fault = turn::strange(seen).fault();
        return Ok(stands("strange", fault.what, fault.advice));
    }
    let Some(first) = layered.first() else {
        managed.forget_pull(machine);
        return Ok(Next::Flat);
    };
    if there.power.is_off() {
        managed.forget_pull(machine);
        let what = format!("machine '{}' is off: its disks are made its own while it runs", there.name);
        return Ok(stands(
            "off",
            what,
            "start it, and this goes on; or stop it (`stop-flatten`), so that it is replicated again",
        ));
    }
    if let Some(job) = jobs.iter().find(|job| job.what != PULL || !layered.contains(&job.disk)) {
        let what = format!("another block job ({}) runs on disk {}", job.what, job.disk);
        return Ok(stands("busy", what, "it goes on when that has ended"));
    }
    if !jobs.is_empty() {
        return room(agent, managed, seen, 0).await;
    }
    if agent.sources().of(machine).is_some() {
        return Ok(Next::Wait);
    }
    // One that was begun, that is not there any more, and that has not come to its end.
    match managed.forget_pull(machine) {
        Some(disk) if layered.contains(&disk) => {
            let what = format!("copying into disk {disk} ended before everything was copied");
            Ok(stands("ended", what, "see the hypervisor's log for this machine; it is tried again"))
        }
        _ => Ok(Next::Begin(first.clone())),
    }
}

/// That overlays can grow by so many bytes more without taking what is kept free: a pull that
/// would fill the storage is ended, since the guest would stand still.
async fn room(agent: &Agent, managed: &Managed, seen: &Seen, bytes: u64) -> Result<Next, AgentError> {
    let Some(replica) = agent.replicas().get(seen.protection.machine).await? else { return Ok(Next::Wait) };
    if replica.run(move |store| store.has_room_for(bytes)).await? || bug::is(Bug::FillsStorage) {
        return Ok(Next::Wait);
    }
    end(agent, managed, seen.protection.machine, seen.there.as_ref()).await?;
    let what = match bytes {
        0 => "the storage of the replica is nearly full".to_owned(),
        bytes => {
            format!("{bytes} bytes have to be copied, and the storage of the replica does not have them")
        }
    };
    Ok(stands("no-space", what, "make room there, or stop this (`stop-flatten`)"))
}

async fn begin(
    agent: &Agent,
    managed: &Managed,
    seen: &Seen,
    look: &Look,
    disk: &DiskKey,
) -> Result<Option<Problem>, AgentError> {
    let machine = seen.protection.machine;
    let replica = agent.replicas().get_or_create(machine).await?;
    let disks = look.layered.clone();
    let left = replica.run(move |store| store.left_to_flatten(&disks)).await?;
    if let Next::Stands(problem) = room(agent, managed, seen, left).await? {
        return Ok(Some(problem));
    }
    match agent.hypervisor().await?.begin_pull(machine, disk, agent.config().flatten_rate).await {
        Ok(()) => {
            tracing::info!(%machine, %disk, left, "its disk is being made its own");
            locked(&managed.acting).pulls.insert(machine, disk.clone());
            Ok(None)
        }
        Err(error) if error.kind == Kind::Busy => {
            let (what, advice) = (error.detail, "it goes on when that has ended".to_owned());
            Ok(Some(Problem { code: "busy".to_owned(), what, advice }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends what runs of it. One that was ended here is not missed afterwards.
async fn end(
    agent: &Agent,
    managed: &Managed,
    machine: MachineId,
    there: Option<&Machine>,
) -> Result<(), AgentError> {
    managed.forget_pull(machine);
    let Some(there) = there.filter(|there| !there.power.is_off()) else { return Ok(()) };
    let hypervisor = agent.hypervisor().await?;
    for disk in layered(agent, there) {
        match hypervisor.end_pull(there.id, &disk).await {
            // Another tool's job is left alone.
            Err(error) if error.kind == Kind::Busy => {}
            done => done?,
        }
    }
    Ok(())
}

fn stands(code: &str, what: impl Into<String>, advice: impl Into<String>) -> Next {
    Next::Stands(Problem { code: code.to_owned(), what: what.into(), advice: advice.into() })
}

/// Durable before the first pull begins: whoever comes after a crash ends it where nobody wants
/// it any more.
async fn note(managed: &Arc<Managed>, machine: MachineId, flattening: bool) -> Result<(), AgentError> {
    let note = move |ledger: &mut Ledger| {
        let station = ledger.station_mut(machine);
        let new = station.flattening != flattening;
        station.flattening = flattening;
        ((), new)
    };
    managed.change(note).await
}

impl Managed {
    /// Remembers how far it is, for the next report; what has changed besides is logged.
    fn set_flattening(&self, machine: MachineId, now: Option<Flattening>) {
        let told = now.clone();
        let mut acting = locked(&self.acting);
        let before = match now {
            Some(now) => acting.flattening.insert(machine, now),
            None => {
                acting.pulls.remove(&machine);
                acting.flattening.remove(&machine)
            }
        };
        drop(acting);
        if before == told {
            return;
        }
        self.news.soon.notify_one();
        let state = |at: &Option<Flattening>| at.as_ref().map(|at| (at.flat, at.failed.clone()));
        match state(&told) {
            state_now if state_now == state(&before) => {}
            Some((true, _)) => tracing::info!(%machine, "its disks are its own"),
            Some((false, Some(why))) => {
                tracing::warn!(%machine, what = why.what, advice = why.advice, "its disks are not made its own");
            }
            _ => {}
        }
    }

    /// What could not be looked at, or done, is said beside how far it was.
    fn set_flattening_failed(&self, machine: MachineId, why: Problem) {
        let before = locked(&self.acting).flattening.get(&machine).cloned();
        let before = before.unwrap_or(Flattening { done: 0, total: 0, flat: false, failed: None });
        self.set_flattening(machine, Some(Flattening { failed: Some(why), ..before }));
    }

    /// The disk of which a pull was begun in this run, and not looked for since.
    fn forget_pull(&self, machine: MachineId) -> Option<DiskKey> {
        locked(&self.acting).pulls.remove(&machine)
    }
}

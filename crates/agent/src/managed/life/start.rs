//! Starting a machine here: as it is, at the point of a seal, or at a point that a document
//! wants. What it starts from is checked before, and durable before it runs. This module must
//! never decide whether it may start.

use std::{sync::Arc, time::Duration};

use farshore_capture::{Learning, Left};
use farshore_control::ownership::Seal;
use farshore_hypervisor::{GuestState, Hypervisor, Machine, Start};
use farshore_protection::{BroughtUp, Choice, Overlay, Want};
use farshore_replica::{Phase, PointInfo, Replica};
use farshore_types::{Consistency, Epoch, MachineId, PointId, PointRef};

use super::{
    super::{Managed, ledger::Ledger},
    act::denied_error,
    look::Seen,
    turn::{self, OwnDisks, is_ours, make_way, own_disks_of, strange},
};
use crate::{Agent, AgentError, OpenReplica, commands, replicas::blocking, source};

/// How long a machine that goes to another point may take to shut down.
const PATIENCE: Duration = Duration::from_secs(20);
/// Digests taken at once.
const PAGE: usize = 1 << 16;

/// Accepts a seal, durably, where the machine can be started at exactly its point.
pub(super) async fn accept(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    seal: Seal,
) -> Result<(), AgentError> {
    // A machine that is handed back without a last cycle is started as it was left here.
    let planned = matches!(seen.wanted.source, Want::HandOver { last_cycle: true, .. });
    let as_left = match own_disks_of(agent, seen) {
        OwnDisks::Strange => return Err(strange(seen)),
        OwnDisks::AsLeft => !planned,
        OwnDisks::None => !planned && is_as_left(agent, seen).await?,
        OwnDisks::Behind => false,
    };
    if !as_left {
        let replica = agent.replicas().get(seal.machine).await?;
        let held = match &replica {
            Some(replica) => replica.run(move |store| store.point(seal.last.id)).await.ok(),
            None => None,
        };
        if held.is_none_or(|point| point.root != seal.last.root) {
            return Err(AgentError::Request {
                what: format!(
                    "the replica here does not have point {}, at which the machine was sealed",
                    seal.last.id
                ),
                advice: "abort the move: the machine runs again where it was".to_owned(),
            });
        }
    }
    let me = managed.host();
    let accepted = managed
        .change(move |ledger| {
            let accepted = ledger.accept(me, &seal);
            if accepted.is_ok() {
                let station = ledger.station_mut(seal.machine);
                (station.accepted, station.starts_as_left) = (Some(seal), as_left);
            }
            let changed = accepted.is_ok();
            (accepted, changed)
        })
        .await?;
    accepted.map_err(|denied| denied_error(&denied))?;
    tracing::info!(machine = %seal.machine, last = %seal.last.id, epoch = seal.next.number, "accepted");
    Ok(())
}

/// Whether the machine is here as it was left on overlays of the replica, which have not been folded
/// into it since.
async fn is_as_left(agent: &Agent, seen: &Seen) -> Result<bool, AgentError> {
    if !seen.there.as_ref().is_some_and(|there| is_ours(agent, there)) {
        return Ok(false);
    }
    match agent.replicas().get(seen.protection.machine).await? {
        Some(replica) => Ok(matches!(replica.run(|store| store.phase()).await, Phase::BroughtUp { .. })),
        None => Ok(false),
    }
}

/// Starts the machine of this host: at the point of the seal by which it came, else as it is.
pub(super) async fn start(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) -> Result<(), AgentError> {
    if seen.here.cut_off {
        // Looked at again when it is off.
        return stop(agent, seen.protection.machine).await;
    }
    let came = seen.station.accepted_for(&seen.lineage).filter(|_| seen.here.brought_up.is_none());
    let Some(seal) = came else { return as_it_is(agent, seen).await };
    let at = (!seen.station.starts_as_left).then_some(seal.last.id);
    let up = BroughtUp { epoch: seal.next, order: 0, at };
    if at.is_none() {
        return come_up_as_left(agent, managed, seen, up).await;
    }
    if let Some(there) = seen.there.as_ref().filter(|there| !is_ours(agent, there)) {
        make_way(agent, there).await?;
    }
    let replica = agent.replicas().get_or_create(seal.machine).await?;
    let _alone = replica.alone().await;
    let point = replica.run(move |store| store.point(seal.last.id)).await?;
    comes_up(managed, seal.machine, up).await?;
    forget_map(agent, seal.machine).await?;
    let checkpoint = let_run(agent, &replica, &point, seal.next).await?;
    learn(agent, &replica, seal.last, checkpoint).await?;
    came_up(managed, seal.machine, up).await
}

/// Starts it as it is, and notes that.
async fn come_up_as_left(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    up: BroughtUp,
) -> Result<(), AgentError> {
    comes_up(managed, seen.protection.machine, up).await?;
    as_it_is(agent, seen).await?;
    came_up(managed, seen.protection.machine, up).await
}

/// Starts it as it is.
async fn as_it_is(agent: &Arc<Agent>, seen: &Seen) -> Result<(), AgentError> {
    let machine = seen.protection.machine;
    let hypervisor = agent.hypervisor().await?;
    if seen.there.is_none() {
        return Err(AgentError::Request {
            what: "this host does not have the machine any more".to_owned(),
            advice: "define it again, or fail over to the other side".to_owned(),
        });
    }
    let now = hypervisor.machine(machine).await?;
    match now.power.is_off() {
        true => hypervisor.start(machine, Start::Running).await?,
        false => hypervisor.resume(machine).await?,
    }
    tracing::info!(machine = now.name, "started");
    Ok(())
}

/// Brings it up at a point, from what is said, by an order of the epoch that is held.
pub(super) async fn bring_up(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    (choice, overlay, order): (Choice, Overlay, u64),
) -> Result<(), AgentError> {
    let (machine, epoch) = (seen.protection.machine, seen.lineage.epoch);
    let coming = seen.station.coming_up_by(&seen.lineage);
    let begun = seen.here.brought_up.is_some() || coming.is_some();
    if !begun && turn::is_halfway(seen) {
        return turn::turn(agent, managed, seen).await;
    }
    // What this order has begun is gone on with, and not begun anew.
    let again = coming.filter(|up| up.order == order);
    let choice = again.and_then(|up| up.at).map_or(choice, Choice::At);
    let replica = agent.replicas().get(machine).await?;
    let own = own_disks_of(agent, seen);
    if own == OwnDisks::Strange {
        return Err(strange(seen));
    }
    if seen.here.cut_off {
        return stop(agent, machine).await;
    }
    let newest = !begun && !matches!(choice, Choice::AsLeft | Choice::At(_));
    let point = match &replica {
        Some(replica) if is_from_replica(replica, own, choice).await => {
            if newest && ran_before(replica, seen).await? {
                // The newest point may be what was left here, and is none yet.
                return keep_own(agent, managed, seen, own).await;
            }
            chosen(replica, choice).await?
        }
        None if is_named(choice) => return Err(no_points()),
        _ => None,
    };
    let (Some(replica), Some(point)) = (replica, point) else {
        // The disks that are here, or those on which it was left.
        return come_up_as_left(agent, managed, seen, BroughtUp { epoch, order, at: None }).await;
    };
    if own == OwnDisks::AsLeft || (!begun && ran_before(&replica, seen).await?) {
        return keep_own(agent, managed, seen, own).await;
    }
    if let Some(there) = seen.there.as_ref().filter(|_| own == OwnDisks::Behind) {
        make_way(agent, there).await?;
    }
    let _alone = replica.alone().await;
    let up = BroughtUp { epoch, order, at: Some(point.id) };
    let phase = replica.run(|store| store.phase()).await;
    let anew = begun && again.is_none();
    // Who names no other point, or goes back to what was left there, has that already.
    let no_other = overlay == Overlay::AsLeft || !matches!(choice, Choice::At(_));
    let stands = coming.is_none() && phase == (Phase::BroughtUp { point: point.id });
    let goes_on = anew && stands && no_other;
    if goes_on && seen.here.runs {
        return came_up(managed, machine, up).await;
    }
    if let Phase::BroughtUp { point: at } | Phase::BringingUp { point: at } = phase
        && (at != point.id || (anew && !goes_on))
    {
        check_it_starts(agent, seen, &replica, &point, at).await?;
        put_aside(agent, &replica, machine).await?;
    }
    comes_up(managed, machine, up).await?;
    if overlay == Overlay::AsLeft && !goes_on {
        take_up_again(&replica, point.id, epoch).await?;
    }
    forget_map(agent, machine).await?;
    let_run(agent, &replica, &point, epoch).await?;
    came_up(managed, machine, up).await
}

/// What only this host has, of its own disks or by an epoch of before, is kept as a point, which is
/// the newest: the one that is meant is chosen again.
async fn keep_own(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    seen: &Seen,
    own: OwnDisks,
) -> Result<(), AgentError> {
    if seen.here.runs {
        // Looked at again when it is off.
        return stop(agent, seen.protection.machine).await;
    }
    if let Some(there) = seen.there.as_ref().filter(|_| own == OwnDisks::Behind) {
        make_way(agent, there).await?;
    }
    turn::turn(agent, managed, seen).await
}

/// What runs at point `at` is stopped for another one only where that could be started here.
async fn check_it_starts(
    agent: &Arc<Agent>,
    seen: &Seen,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
    at: PointId,
) -> Result<(), AgentError> {
    let Err(error) = commands::check_startable(agent, replica, point).await else { return Ok(()) };
    if !seen.here.runs {
        return Err(error);
    }
    let fault = error.fault();
    Err(AgentError::Request {
        what: format!("{}; the machine runs on at point {at}", fault.what),
        advice: format!("{}; or leave it there: `change-point --point {at} --as-left`", fault.advice),
    })
}

/// The overlays that were put aside at a point come back, where there are any.
async fn take_up_again(replica: &Arc<OpenReplica>, id: PointId, epoch: Epoch) -> Result<(), AgentError> {
    if replica.run(move |store| store.is_shelved(id)).await? {
        let take_up = move |store: &mut Replica| {
            store.bring_up(id, epoch)?;
            store.unshelve(id)
        };
        replica.run(take_up).await?;
    }
    Ok(())
}

/// Whether one point is meant, and nothing else will do.
fn is_named(choice: Choice) -> bool {
    matches!(choice, Choice::At(_) | Choice::LatestApplication)
}

/// Whether the machine comes up at a point of the replica, and not as its own disks are here: as it
/// was left they are newer than every point, and behind the replica's newest once that has gone on.
async fn is_from_replica(replica: &Arc<OpenReplica>, own: OwnDisks, choice: Choice) -> bool {
    match own {
        OwnDisks::None | OwnDisks::Strange => true,
        OwnDisks::AsLeft => is_named(choice),
        OwnDisks::Behind => {
            let promised = is_named(choice) || matches!(choice, Choice::NotBefore(_));
            promised || replica.run(|store| store.newest().is_ok()).await
        }
    }
}

fn no_points() -> AgentError {
    AgentError::Request {
        what: "this host has no recovery points of the machine".to_owned(),
        advice: "choose the latest: the machine comes up as it was left here".to_owned(),
    }
}

/// Whether the machine was brought up here by an epoch of before, and nobody has kept what it
/// wrote yet, there or where it was put aside. A bring-up of this epoch that was cut is none.
async fn ran_before(replica: &Arc<OpenReplica>, seen: &Seen) -> Result<bool, AgentError> {
    let look = |store: &mut Replica| Ok::<_, AgentError>((store.phase(), store.epoch(), store.shelved()?));
    let (phase, epoch, aside) = replica.run(look).await?;
    let wrote = matches!(phase, Phase::BroughtUp { .. }) || !aside.is_empty();
    Ok(wrote && epoch != seen.lineage.epoch)
}

/// The point that is meant; none: none, but what was left here.
pub(super) async fn chosen(
    replica: &Arc<OpenReplica>,
    choice: Choice,
) -> Result<Option<PointInfo>, AgentError> {
    let find = move |store: &mut Replica| {
        Ok(match choice {
            Choice::AsLeft => None,
            Choice::At(id) => Some(store.point(id)?),
            Choice::Latest | Choice::LatestWhole => Some(store.newest()?),
            Choice::NotBefore(shown) => Some(not_before(store.newest()?, shown)?),
            Choice::LatestApplication => {
                let frozen = |point: &PointInfo| point.consistency == Consistency::Application;
                let found = store.points().into_iter().rev().find(frozen);
                Some(found.ok_or_else(|| AgentError::Request {
                    what: "no point here was taken with the guest's file systems frozen".to_owned(),
                    advice: "choose the latest, or one by its name".to_owned(),
                })?)
            }
        })
    };
    replica.run(find).await
}

/// The newest point, where it is not older than the one that was shown to who accepted the loss.
fn not_before(newest: PointInfo, shown: PointId) -> Result<PointInfo, AgentError> {
    if newest.id >= shown {
        return Ok(newest);
    }
    Err(AgentError::Request {
        what: format!("the newest recovery point here is {}: {shown}, which was shown, is gone", newest.id),
        advice: "more would be lost than was accepted: look at the points, and choose one (`change-point`)"
            .to_owned(),
    })
}

/// In order where the guest heeds that soon.
async fn stop(agent: &Agent, machine: MachineId) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    match hypervisor.shut_down(machine, PATIENCE).await {
        Ok(()) => Ok(()),
        Err(_) => Ok(hypervisor.destroy(machine).await?),
    }
}

/// A machine that was brought up stops, and what it wrote is put aside. It is switched off: who
/// wants another point has no use for what this one would still write, and waits for the other.
async fn put_aside(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    machine: MachineId,
) -> Result<(), AgentError> {
    let hypervisor = agent.hypervisor().await?;
    if let Some(there) = commands::ours(&*hypervisor, agent, machine).await? {
        turn::keep_definition(agent, &there, false)?;
        tracing::info!(machine = there.name, "switched off for another point");
        hypervisor.destroy(machine).await?;
        hypervisor.undefine(machine, GuestState::Keep).await?;
    }
    Ok(replica.run(Replica::shelve).await?)
}

/// Brings the machine up at the point by the epoch, and lets it run. Before it does, the
/// checkpoint is taken from which its first cycle starts; none where it runs already.
async fn let_run(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: &PointInfo,
    epoch: Epoch,
) -> Result<Option<String>, AgentError> {
    let hypervisor = agent.hypervisor().await?;
    commands::ours(&*hypervisor, agent, replica.machine()).await?;
    commands::define_at(agent, replica, point, epoch).await?;
    let machine = hypervisor.machine(replica.machine()).await?;
    if machine.power.is_off() {
        hypervisor.start(machine.id, Start::Paused).await?;
    } else if !machine.power.is_paused() {
        return Ok(None);
    }
    let checkpoint = match hypervisor.has_run(machine.id).await? {
        true => None,
        false => checkpoint(agent, &*hypervisor, &machine).await,
    };
    hypervisor.resume(machine.id).await?;
    tracing::info!(machine = machine.name, point = %point.id, epoch = epoch.number, "brought up");
    Ok(checkpoint)
}

/// Without it the first cycle compares everything, so that nothing waits for it.
async fn checkpoint(agent: &Agent, hypervisor: &dyn Hypervisor, machine: &Machine) -> Option<String> {
    let runtime = agent.config().runtime_dir.join(machine.id.to_string());
    let made = agent.files.create_dir_all(&runtime).map_err(AgentError::io("create", &runtime));
    let taken = match made {
        Ok(()) => {
            farshore_capture::take_checkpoint(hypervisor, machine, &runtime).await.map_err(AgentError::from)
        }
        Err(error) => Err(error),
    };
    taken.unwrap_or_else(|error| {
        tracing::warn!(
            machine = machine.name,
            error = error.fault().what,
            "the first cycle will compare everything"
        );
        None
    })
}

/// What the other host has is known from the point's own map: nothing is read, or sent, for
/// that.
async fn learn(
    agent: &Arc<Agent>,
    replica: &Arc<OpenReplica>,
    point: PointRef,
    checkpoint: Option<String>,
) -> Result<(), AgentError> {
    let id = point.id;
    let reader = replica.run(move |store| store.reader(id)).await?;
    let (files, state) = (agent.files.clone(), source::dir_of(agent, replica.machine()));
    let learn = move || {
        let mut learning = Learning::begin(&files, &state)?;
        let disks = reader.disks();
        for (disk, size) in &disks {
            let mut page = Vec::new();
            for entry in reader.map(disk)? {
                let entry = entry?;
                if !entry.digest.is_zero() {
                    page.push((entry.cluster, entry.digest));
                }
                if page.len() == PAGE {
                    learning.take(disk, *size, &page)?;
                    page.clear();
                }
            }
            learning.take(disk, *size, &page)?;
        }
        Ok::<_, AgentError>(learning.finish(Left { point, disks }, checkpoint)?)
    };
    blocking(learn).await
}

/// The map of before tells nothing of a machine that starts from another point.
async fn forget_map(agent: &Arc<Agent>, machine: MachineId) -> Result<(), AgentError> {
    let (files, state) = (agent.files.clone(), source::dir_of(agent, machine));
    Ok(blocking(move || Learning::begin(&files, &state).map(drop)).await?)
}

/// Whether it ran when this host went down is known by the last look before that. One that its
/// users have shut down is not started after a boot.
pub(super) async fn note_run(agent: &Agent, managed: &Arc<Managed>, seen: &Seen) -> Result<(), AgentError> {
    let (machine, runs, moved) = (seen.protection.machine, seen.here.runs, seen.mine.is_moving());
    if seen.station.cut_off && seen.there.as_ref().is_none_or(|there| there.power.is_off()) {
        // Its cables are in when it is started.
        let plugged =
            move |ledger: &mut Ledger| ((), std::mem::take(&mut ledger.station_mut(machine).cut_off));
        managed.change(plugged).await?;
    }
    if !seen.station.boots.clone().look(&agent.boot().to_owned(), runs, moved) {
        return Ok(());
    }
    managed.change(move |ledger| ((), ledger.look(machine, runs, moved))).await
}

/// Durable before anything of it can run: what is found running is never begun anew.
async fn comes_up(managed: &Arc<Managed>, machine: MachineId, up: BroughtUp) -> Result<(), AgentError> {
    let note = move |ledger: &mut Ledger| {
        let station = ledger.station_mut(machine);
        let new = station.coming_up != Some(up);
        station.coming_up = Some(up);
        ((), new)
    };
    managed.change(note).await
}

async fn came_up(managed: &Arc<Managed>, machine: MachineId, up: BroughtUp) -> Result<(), AgentError> {
    let note = move |ledger: &mut Ledger| {
        let station = ledger.station_mut(machine);
        (station.brought_up, station.coming_up, station.fenced) = (Some(up), None, None);
        (station.turning, station.cut_off) = (None, false);
        // What runs as it is here goes on from there: nothing beside it is ahead of it.
        station.turned = station.turned.filter(|_| up.at.is_some());
        ((), true)
    };
    managed.change(note).await
}

/// A machine that runs by what was noted before, and of which a crash kept that from being noted.
pub(super) async fn finish(managed: &Arc<Managed>, seen: &Seen) -> Result<bool, AgentError> {
    let coming = seen.station.coming_up_by(&seen.lineage);
    let cut = coming.filter(|_| seen.here.runs && seen.lineage.owner == managed.host());
    let Some(up) = cut else { return Ok(false) };
    came_up(managed, seen.protection.machine, up).await?;
    Ok(true)
}

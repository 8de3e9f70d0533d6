//! What must never be, looked at after every step.

use farshore_protection::{Flat, Operation, fence::Do};
use farshore_types::EpochOrder;

use crate::{acts::Act, world::World};

/// What is wrong with a step, if anything is.
pub(crate) fn fault(before: &World, act: Act, after: &World) -> Option<String> {
    both_run(after)
        .or_else(|| started_by_nobody(before, act, after))
        .or_else(|| written_by_two(before, act, after))
        .or_else(|| lost_writes(before, after))
        .or_else(|| lost_by_a_planned_failover(before, after))
        .or_else(|| stopped_for_nothing(before, act, after))
        .or_else(|| epoch_of_two(after))
        .or_else(|| forgotten(before, after))
        .or_else(|| sent_though_not_wanted(before, act, after))
        .or_else(|| owned_by_what_goes_beside(before, act, after))
        .or_else(|| not_superseded(act, after))
}

/// By orderly operations the machine never runs on both sides.
fn both_run(after: &World) -> Option<String> {
    let both = after.running().len() > 1 && !after.ghost.confirmed;
    both.then(|| "the machine runs on both sides, and nobody has confirmed that".to_owned())
}

/// After a boot a machine starts only where the other side has not taken over (R8), or where the
/// vault says now that it is to be brought up there.
fn started_by_nobody(before: &World, act: Act, after: &World) -> Option<String> {
    let Act::Next(at) = act else { return None };
    let started = !before.agents[at].runs && after.agents[at].runs && before.agents[at].booted;
    let taken =
        matches!(before.epoch(at).order_of(&before.epoch(1 - at)), EpochOrder::Newer | EpochOrder::Conflict);
    let may = match before.next_of(at) {
        Do::AskWitness => before.talk() && !taken,
        Do::BringUp { .. } => before.agents[at].fresh,
        _ => false,
    };
    (started && !may).then(|| format!("host {at} has started the machine without a witness"))
}

/// A replica is written by the owner of the highest epoch alone, and never under a machine.
fn written_by_two(before: &World, act: Act, after: &World) -> Option<String> {
    let (Act::Cycle(at) | Act::Next(at)) = act else { return None };
    let there = 1 - at;
    let wrote = before.agents[there].newest != after.agents[there].newest && before.talk();
    let sends = matches!(act, Act::Cycle(_)) || before.next_of(at) == Do::SendRest;
    if !wrote || !sends {
        return None;
    }
    let order = before.epoch(there).order_of(&before.epoch(at));
    if matches!(order, EpochOrder::Older | EpochOrder::Conflict) {
        return Some(format!("host {at} has written the replica by an epoch of before"));
    }
    before.agents[there]
        .runs
        .then(|| format!("host {at} has written the replica under a machine that runs on it"))
}

/// Points stay, and what a host wrote itself is kept before anything takes its place.
fn lost_writes(before: &World, after: &World) -> Option<String> {
    for at in 0..2 {
        let (was, is) = (&before.agents[at], &after.agents[at]);
        if !was.points.is_subset(&is.points) {
            return Some(format!("host {at} has lost a point"));
        }
        let Some(own) = was.disk else { continue };
        let replaced = is.disk != Some(own) && is.disk.is_none_or(|disk| !descends(disk, own));
        let everywhere =
            is.points.contains(&own) || after.agents[1 - at].points.contains(&own) || is_kept(after, own);
        if replaced && !everywhere {
            return Some(format!("host {at} has lost what the machine wrote there: {own}"));
        }
    }
    None
}

/// Whether what was written is on some disk, or in what some disk or point came of.
fn is_kept(world: &World, own: u32) -> bool {
    let disks =
        world.agents.iter().flat_map(|agent| agent.disk.into_iter().chain(agent.points.iter().copied()));
    disks.into_iter().any(|disk| descends(disk, own))
}

/// Whether a disk is another one with writes on top.
fn descends(mut disk: u32, of: u32) -> bool {
    while disk > of {
        disk /= 4;
    }
    disk == of
}

/// What was sealed after a last cycle is what starts.
fn lost_by_a_planned_failover(before: &World, after: &World) -> Option<String> {
    let (epoch, disk) = after.ghost.sealed?;
    (0..2).find_map(|at| {
        let started = !before.agents[at].runs && after.agents[at].runs && after.epoch(at) == epoch;
        let first = before.agents[at].disk.is_none_or(|own| !descends(own, disk));
        let is = after.agents[at].disk;
        (started && first && is != Some(disk))
            .then(|| format!("host {at} starts {is:?}, and {disk} was sealed"))
    })
}

/// A guest is stopped by an order of the vault: not by a document of before, nor because some
/// host has taken over by itself.
fn stopped_for_nothing(before: &World, act: Act, after: &World) -> Option<String> {
    let Act::Next(at) = act else { return None };
    if !before.agents[at].runs || after.agents[at].runs {
        return None;
    }
    let doc = before.agents[at].doc.as_ref()?;
    let taken = before.ghost.alone.contains(&doc.wanted().epoch);
    if taken && matches!(before.next_of(at), Do::Fence(_)) {
        return Some(format!("host {at} is fenced by what the other host did by itself"));
    }
    (!before.agents[at].fresh).then(|| format!("host {at} has stopped the machine by a document of before"))
}

/// One epoch has one owner.
fn epoch_of_two(after: &World) -> Option<String> {
    let [first, second] = [&after.agents[0].lineage, &after.agents[1].lineage];
    let same = first.epoch == second.epoch && first.owner != second.owner;
    same.then(|| format!("epoch {} has two owners", first.epoch.number))
}

/// What a host knows of who owns the machine never goes back (R2).
fn forgotten(before: &World, after: &World) -> Option<String> {
    let back = |at: &usize| before.epoch(*at).number > after.epoch(*at).number;
    let at = (0..2).find(back)?;
    Some(format!("host {at} has forgotten epoch {}", before.epoch(at).number))
}

/// Nothing is replicated while it is paused, nor while disks are flattened.
fn sent_though_not_wanted(before: &World, act: Act, after: &World) -> Option<String> {
    let Act::Cycle(at) = act else { return None };
    let sent = before.agents[at].synced != after.agents[at].synced
        || before.agents[1 - at].newest != after.agents[1 - at].newest;
    let life = &before.agents[at].doc.as_ref()?.life;
    if !sent || before.epoch(at) != life.epoch {
        return None;
    }
    let flattens = (life.flat == Flat::Flattening).then(|| format!("host {at} has sent while it flattens"));
    flattens.or_else(|| life.paused.then(|| format!("host {at} has sent though replication is paused")))
}

/// Pauses, comparisons, test failovers and flattening are nothing to who owns the machine.
fn owned_by_what_goes_beside(before: &World, act: Act, after: &World) -> Option<String> {
    let Act::Order { vault, operation, .. } = act else { return None };
    let beside = matches!(
        operation,
        Operation::Pause
            | Operation::Resume
            | Operation::Resync
            | Operation::TestFailover
            | Operation::CleanUp
            | Operation::Flatten
            | Operation::StopFlatten
    );
    let of = |world: &World| {
        let life = &world.vaults[vault].as_ref()?.life;
        Some((life.hosts(), life.epoch, life.issued, life.stage.clone(), life.version))
    };
    (beside && of(before) != of(after)).then(|| format!("'{}' has changed the owner", operation.name()))
}

/// An unplanned failover ends whatever was under way beside the machine.
fn not_superseded(act: Act, after: &World) -> Option<String> {
    let Act::Order { vault, operation: Operation::UnplannedFailover, .. } = act else { return None };
    let life = &after.vaults[vault].as_ref()?.life;
    let beside = life.has_open_drill() || life.flat == Flat::Flattening;
    beside.then(|| "an unplanned failover has left what goes beside the machine".to_owned())
}

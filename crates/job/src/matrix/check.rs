//! What must hold of every story.

use super::{
    Broken,
    world::{Carried, Story, Told},
};
use crate::{Direction, EffectId, Ending, JobNode, State};

pub(super) fn check(told: &Told, story: &Story) -> Result<(), Broken> {
    let broken = |what: String| Err(Broken { what, story: format!("{story:?}") });
    if let Some(fault) = told.faults.first() {
        return broken(fault.clone());
    }
    for (at, node) in told.job.nodes.iter().enumerate().filter(|(_, node)| node.spec().is_some()) {
        let fault =
            done_twice(told, at).or_else(|| untrue(told, at, node)).or_else(|| forgotten(told, at, node));
        if let Some(what) = fault {
            return broken(format!("step '{}': {what}", node.name));
        }
    }
    let Some(end) = &told.job.end else { return broken("it has no end".to_owned()) };
    let undisturbed =
        story.fate.is_none() && story.second.is_none() && story.cancel.is_none() && !story.refused;
    if undisturbed && end.ending != Ending::Succeeded {
        return broken(format!("it ended as {:?}, and a crash alone must cost nothing but time", end.ending));
    }
    let open = |node: &JobNode| {
        matches!(node.state, State::Waiting | State::Running | State::Retrying | State::Undoing)
    };
    if let Some(node) = told.job.nodes.iter().find(|node| open(node)) {
        return broken(format!("it ended while '{}' is {:?}", node.name, node.state));
    }
    if end.ending != Ending::Succeeded && end.cause.is_none() && end.ending != Ending::Cancelled {
        return broken(format!("it ended as {:?} and does not say why", end.ending));
    }
    Ok(())
}

/// All that was carried out for a step, one way.
fn carried(told: &Told, at: usize, direction: Direction) -> impl Iterator<Item = (&EffectId, &Carried)> {
    let of = move |id: &EffectId| usize::from(id.step) == at && id.direction == direction;
    told.carried.iter().filter(move |(id, _)| of(id))
}

/// A step is done under one id, and a further id follows only on a known failure.
fn done_twice(told: &Told, at: usize) -> Option<String> {
    for direction in [Direction::Do, Direction::Undo] {
        let all: Vec<_> = carried(told, at, direction).collect();
        if all.iter().filter(|(_, carried)| carried.really_done).count() > 1 {
            return Some(format!("it was done under {} ids", all.len()));
        }
        let unknown = |carried: &Carried| {
            carried.really_done
                || !matches!(
                    carried.outcome,
                    Some(crate::Outcome::Failed { again: true, .. } | crate::Outcome::Expired)
                )
        };
        let (_, earlier) = all.split_last()?;
        if let Some((id, _)) = earlier.iter().find(|(_, carried)| unknown(carried)) {
            return Some(format!("another id was asked for after {id}, which may have been done"));
        }
        if all.iter().enumerate().any(|(n, (id, _))| usize::try_from(id.attempt) != Ok(n + 1)) {
            return Some("an attempt was left out".to_owned());
        }
    }
    None
}

/// What the job says of a step is what happened.
fn untrue(told: &Told, at: usize, node: &JobNode) -> Option<String> {
    let effect = node.spec().is_some_and(|spec| spec.work == crate::Work::Effect);
    let really = |direction| carried(told, at, direction).any(|(_, carried)| carried.really_done);
    let (done, undone) = (really(Direction::Do), really(Direction::Undo));
    let fault = match node.state {
        State::Done => effect && !done,
        State::Failed | State::Skipped => done,
        State::Undone => !undone,
        _ => false,
    };
    fault.then(|| format!("it is said to be {:?}, done: {done}, undone: {undone}", node.state))
}

/// What a job that did not succeed has done is undone, or named.
fn forgotten(told: &Told, at: usize, node: &JobNode) -> Option<String> {
    let end = told.job.end.as_ref()?;
    let backward = matches!(end.ending, Ending::Failed | Ending::Cancelled);
    let done = carried(told, at, Direction::Do).any(|(_, carried)| carried.really_done);
    let undone = carried(told, at, Direction::Undo).any(|(_, carried)| carried.really_done);
    let named = end.left.iter().any(|left| left.step == node.name && !left.why.is_empty());
    (backward && done && !undone && !named).then(|| "it was done, and neither undone nor named".to_owned())
}

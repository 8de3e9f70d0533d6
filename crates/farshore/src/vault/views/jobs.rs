//! Jobs. This module must never change anything.

use farshore_job::{Cause, Ending, Job, JobNode, Phase, State};
use farshore_vault::{JobNow, rows::About};

use crate::views::{CauseView, JobState, JobView, StepView};

/// A job as it is shown.
pub(in crate::vault) fn job(now: &JobNow) -> JobView {
    let (job, end) = (&now.job, now.job.end.as_ref());
    let (mut machine, mut cloud, mut policy) = (None, None, None);
    match now.about {
        About::Machine(id) => machine = Some(id),
        About::Cloud(id) => cloud = Some(id),
        About::Policy(id) => policy = Some(id),
    }
    let unsafe_left = end.into_iter().flat_map(|end| &end.left).filter(|left| !left.safe);
    JobView {
        id: job.id,
        kind: job.kind.clone(),
        title: job.title.clone(),
        state: job_state(job),
        machine,
        cloud,
        policy,
        permille: job.permille(),
        created_ms: job.created_ms,
        ended_ms: end.map(|end| end.at_ms),
        cause: end.and_then(|end| end.cause.as_ref()).map(cause),
        goes_on: now.goes_on,
        given_up_by: now.given_up_by.clone(),
        left: unsafe_left.map(|left| format!("{}: {}", left.step, left.why)).collect(),
        steps: job.nodes.iter().map(|node| step(now, node)).collect(),
    }
}

/// Where a job stands.
pub(in crate::vault) fn job_state(job: &Job) -> JobState {
    match (job.end.as_ref().map(|end| end.ending), job.phase) {
        (Some(Ending::Succeeded), _) => JobState::Succeeded,
        (Some(Ending::Partly), _) => JobState::Partly,
        (Some(Ending::Failed), _) => JobState::Failed,
        (Some(Ending::Cancelled), _) => JobState::Cancelled,
        (None, Phase::Backward) => JobState::Undoing,
        (None, _) => JobState::Running,
    }
}

fn cause(cause: &Cause) -> CauseView {
    CauseView { what: cause.what.clone(), advice: cause.advice.clone() }
}

fn step(now: &JobNow, node: &JobNode) -> StepView {
    let parents = std::iter::successors(node.parent, |at| now.job.nodes[usize::from(*at)].parent);
    let note = node.result.as_ref().and_then(|result| result["note"].as_str()).map(str::to_owned);
    StepView {
        name: node.name.clone(),
        title: node.title.clone(),
        depth: parents.count(),
        group: node.spec().is_none(),
        state: word(node.state).to_owned(),
        started_ms: node.started_ms,
        ended_ms: node.ended_ms,
        permille: node.progress.and_then(|progress| progress.permille()),
        waits: now.waits.get(&node.name).cloned(),
        cause: node.cause.as_ref().map(cause),
        note,
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Running => "running",
        State::Retrying => "retrying",
        State::Done => "done",
        State::Failed => "failed",
        State::Lost => "lost",
        State::Skipped => "skipped",
        State::Undoing => "undoing",
        State::Undone => "undone",
        State::Left => "left",
    }
}

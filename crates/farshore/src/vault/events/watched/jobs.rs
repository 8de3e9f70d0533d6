//! Jobs, as they were at the last look: an ended one is looked at once. This module must
//! never tell of one that nothing happened to.

use std::collections::HashMap;

use farshore_types::JobId;
use farshore_vault::{Core, Moment};

use crate::{
    vault::views,
    views::{EventView, JobState, JobView, StepNow},
};

/// Thousandths of what is told anew: each percent.
const TOLD_EVERY: u64 = 10;

/// How jobs were.
#[derive(Debug, Default)]
pub(super) struct Jobs(HashMap<JobId, Was>);

#[derive(Debug, PartialEq, Eq)]
struct Was {
    state: JobState,
    step: Option<StepNow>,
    permille: u64,
}

impl Jobs {
    pub(super) fn changes(&mut self, core: &Core, at: &Moment, found: &mut Vec<EventView>) {
        for row in core.jobs() {
            let known = self.0.get(&row.job.id);
            if known.is_some_and(|was| !was.state.is_open()) && row.job.end.is_some() {
                continue;
            }
            let Some(job) = core.job_now(row.job.id, at).map(|now| views::job(&now)) else { continue };
            let now = Was::of(&job);
            if known != Some(&now) {
                let Was { state, step, permille } = Was::of(&job);
                found.push(EventView::Job { id: job.id, title: job.title, state, step, permille });
                self.0.insert(row.job.id, now);
            }
        }
        self.0.retain(|id, _| core.job(*id).is_some());
    }
}

impl Was {
    fn of(job: &JobView) -> Was {
        let runs = |state: &str| matches!(state, "running" | "retrying" | "undoing");
        let step = job.steps.iter().find(|step| !step.group && runs(&step.state));
        let step = step.map(|step| StepNow {
            title: step.title.clone(),
            state: step.state.clone(),
            permille: step.permille.map(rounded),
            waits: step.waits.clone(),
        });
        Was { state: job.state, step, permille: rounded(job.permille) }
    }
}

fn rounded(permille: u64) -> u64 {
    permille / TOLD_EVERY * TOLD_EVERY
}

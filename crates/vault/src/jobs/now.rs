//! A job as it is now: its row, and what reports say of the steps that run. None of that is
//! stored.

use std::collections::BTreeMap;

use farshore_job::Job;
use farshore_protection::Operation;
use farshore_types::JobId;

use super::{
    Kind,
    drive::outstanding,
    look::{Asked, Look},
};
use crate::{
    Core, Moment,
    rows::{About, JobRow},
};

/// A job as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct JobNow {
    /// The job, with the progress of steps that run.
    pub job: Job,
    /// What it is about.
    pub about: About,
    /// What steps wait for, by the steps' names.
    pub waits: BTreeMap<String, String>,
    /// What was ordered goes on also where the job is cancelled.
    pub goes_on: bool,
    /// By which order that is given up: `protection abort web1`.
    pub given_up_by: Option<String>,
}

impl Core {
    /// A job as it is now.
    #[must_use]
    pub fn job_now(&self, id: JobId, at: &Moment) -> Option<JobNow> {
        let row = self.tables.jobs.get(&id)?;
        let (mut job, mut waits) = (row.job.clone(), BTreeMap::new());
        for (id, act, for_ms) in outstanding(&row.job, at) {
            let Some(act) = act else { continue };
            if let Look::Wait { why, progress } = self.look(&Asked { id, act: &act, for_ms }, at) {
                let node = &mut job.nodes[usize::from(id.step)];
                node.progress = progress;
                waits.insert(node.name.clone(), why);
            }
        }
        let goes_on = Kind::of_life(&row.job.kind).is_some();
        let given_up_by = self.given_up_by(row, at);
        Some(JobNow { job, about: row.about, waits, goes_on, given_up_by })
    }

    /// By which order of its protection what a job of a life waits for is given up, where one can be
    /// ordered now.
    fn given_up_by(&self, row: &JobRow, at: &Moment) -> Option<String> {
        let About::Machine(machine) = row.about else { return None };
        let protection = self.tables.protections.get(&machine)?;
        let facts = self.facts_of(protection, at);
        let allowed = |by: &&Operation| protection.life.judge(&facts, **by).is_allowed();
        let by = Kind::of_life(&row.job.kind)?.given_up_by().iter().find(allowed)?;
        Some(format!("protection {} {}", by.name(), protection.name))
    }

    /// That what a job waited for goes on though somebody cancelled it, and what to do about that.
    pub(super) fn goes_on(&self, row: &JobRow, at: &Moment) -> Option<(&'static str, String)> {
        Kind::of_life(&row.job.kind)?;
        let advice = match self.given_up_by(row, at) {
            Some(order) => format!("`farshore {order}` gives it up"),
            None => "`farshore protection show` tells how far it is, and what can be ordered".to_owned(),
        };
        Some(("only the waiting ends: what was ordered goes on", advice))
    }
}

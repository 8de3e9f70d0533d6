//! A job as it is now: its row, and what reports say of the steps that run. None of that is
//! stored.

use std::collections::BTreeMap;

use farshore_job::Job;
use farshore_types::JobId;

use super::{
    drive::outstanding,
    look::{Asked, Look},
};
use crate::{Core, Moment, rows::About};

/// A job as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct JobNow {
    /// The job, with the progress of steps that run.
    pub job: Job,
    /// What it is about.
    pub about: About,
    /// What steps wait for, by the steps' names.
    pub waits: BTreeMap<String, String>,
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
        Some(JobNow { job, about: row.about, waits })
    }
}

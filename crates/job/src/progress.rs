//! How far jobs are, for people. Nothing is decided by it.

use serde::{Deserialize, Serialize};

use crate::{Job, JobNode, State};

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Parts done: bytes, or steps.
    pub done: u64,
    /// Parts in all; 0 where that is not known.
    pub total: u64,
}

impl Progress {
    /// Thousandths, 0 to 1000; none where the whole is not known.
    #[must_use]
    pub fn permille(&self) -> Option<u64> {
        let whole = u128::from(self.total);
        let part = (u128::from(self.done) * 1000).checked_div(whole)?;
        Some(u64::try_from(part).unwrap_or(1000).min(1000))
    }
}

impl Job {
    /// Thousandths of the job that are done, 0 to 1000: each step counts the same, a running
    /// one as far as it says.
    #[must_use]
    pub fn permille(&self) -> u64 {
        let steps: Vec<&JobNode> = self.nodes.iter().filter(|node| node.spec().is_some()).collect();
        let sum: u64 = steps.iter().map(|step| permille_of(step)).sum();
        sum.checked_div(steps.len() as u64).unwrap_or(1000)
    }
}

fn permille_of(step: &JobNode) -> u64 {
    match step.state {
        State::Waiting => 0,
        State::Running | State::Retrying => {
            step.progress.and_then(|progress| progress.permille()).unwrap_or(0)
        }
        _ => 1000,
    }
}

//! What is found out before somebody relies on it: whether a machine could start at its
//! target, and whether a host's clock, room and versions fit. This module must never change a
//! row.

use farshore_control::request::{Answer, Ending};
use farshore_job::{EffectId, Outcome};
use farshore_types::{HostId, RequestId};
use serde_json::json;

use super::{
    act::{Of, startable_requests},
    look::{Look, SILENT_MS},
};
use crate::{Core, Moment, preflight::SKEW_MS_MAX};

/// Of a place for replicas, the least share that is free, in percent, before it is told.
const FREE_PERCENT_MIN: u64 = 5;

/// What the target said about starting the machine there.
pub(super) fn verdict(problems: &[(String, String)]) -> Look {
    let Some((_, advice)) = problems.first() else { return Look::reached() };
    let all: Vec<&str> = problems.iter().map(|(what, _)| what.as_str()).collect();
    Look::failed(format!("the target could not start the machine: {}", all.join("; ")), advice)
}

impl Core {
    pub(super) fn is_answered(&self, id: EffectId, of: &Of, at: &Moment) -> Look {
        let Some(row) = self.row_of(of).filter(|row| row.is_live()) else {
            return Look::failed("the protection has ended meanwhile", "enable it again where it is wanted");
        };
        let [definition, startable] = startable_requests(id);
        match self.ending_of(definition) {
            Some(Ok(Answer::Definition { .. })) => {}
            Some(Err(outcome)) => return Look::End(outcome),
            Some(Ok(_)) => return Look::failed("the source answered something else", ADVICE_FAULT),
            None => return Look::wait(self.why_waiting(row.source(), "gives the machine's definition", at)),
        }
        match self.ending_of(startable) {
            Some(Ok(Answer::Startable { problems })) => Look::done(json!({ "problems": problems })),
            Some(Err(outcome)) => Look::End(outcome),
            Some(Ok(_)) => Look::failed("the target answered something else", ADVICE_FAULT),
            None => Look::wait(self.why_waiting(row.target(), "has looked at it", at)),
        }
    }

    /// What was answered to a request, or why not; none: nothing yet.
    pub(super) fn ending_of(&self, request: RequestId) -> Option<Result<Answer, Outcome>> {
        let row = self.tables.requests.get(&request)?;
        if row.withdrawn && row.ending.is_none() {
            // By a vault that knew more than what this one was restored from: it is asked anew.
            return Some(Err(Outcome::Expired));
        }
        match row.ending.clone()? {
            Ending::Running { .. } => None,
            Ending::Done { answer } => Some(Ok(answer)),
            Ending::Failed { what, advice } => Some(Err(Outcome::Failed { what, advice, again: true })),
            Ending::Expired => Some(Err(Outcome::Expired)),
        }
    }

    /// Where a host has been silent for long enough, that it is; else what is waited for.
    pub(super) fn patience(&self, host: HostId, does: &str, for_ms: u64, at: &Moment) -> Look {
        match self.silence(host, at).filter(|_| for_ms >= SILENT_MS) {
            Some(silent) => Look::failed(silent, "see to its agent and its site server, and check again"),
            None => Look::wait(self.why_waiting(host, does, at)),
        }
    }

    pub(super) fn is_fit(&self, host: HostId, with: &[HostId], for_ms: u64, at: &Moment) -> Look {
        if self.is_removed(host) {
            return Look::failed("the host was removed meanwhile", "associate the policy again");
        }
        if self.silence(host, at).is_some() {
            return self.patience(host, "reports", for_ms, at);
        }
        let found = self.misfits(host, with);
        match found.first() {
            None => Look::reached(),
            Some((_, advice)) => {
                let all: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
                Look::failed(all.join("; "), advice)
            }
        }
    }

    /// What does not fit of a host that is in contact.
    fn misfits(&self, host: HostId, with: &[HostId]) -> Vec<(String, &'static str)> {
        let (mut found, name) = (Vec::new(), self.host_name(host));
        let Some(seen) = self.tables.observed.get(&host) else { return found };
        if seen.skew_ms.abs() > SKEW_MS_MAX {
            let what = format!("the clock of host '{name}' is {} ms off", seen.skew_ms);
            found.push((what, "set up time synchronisation"));
        }
        for space in &seen.report.space {
            if space.free.saturating_mul(100) < space.total.saturating_mul(FREE_PERCENT_MIN) {
                let what = format!("{} of host '{name}' ({}) is nearly full", space.path, space.of);
                found.push((what, "make room, or use another place"));
            }
        }
        for problem in &seen.report.problems {
            found.push((problem.what.clone(), "see to the host: `farshore host list` says more"));
        }
        let version = |host: &HostId| self.tables.observed.get(host).map(|row| &row.report.agent_version);
        let own = &seen.report.agent_version;
        if let Some(other) = with.iter().find(|other| version(other).is_some_and(|theirs| theirs != own)) {
            let (theirs, other) = (version(other).cloned().unwrap_or_default(), self.host_name(*other));
            let what = format!("host '{name}' has agent {own}, host '{other}' has {theirs}");
            found.push((what, "bring the agents of both clouds to one version"));
        }
        found
    }
}

pub(super) const ADVICE_FAULT: &str = "report this as a fault of the agent";

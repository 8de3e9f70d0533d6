//! Groups: many callers' transactions, and samples, in one transaction of the database.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Commit, Request, State, Uncertain, Writer};
use crate::{
    StoreError,
    apply::{self, Failure, SAMPLES_PER_GROUP},
    batch::Plan,
    bug::Bug,
    fault::{self, Class},
    prune::{self, PRUNE_ROWS},
    record::{Sample, Version},
    status::count,
};

/// Most transactions in one group.
const GROUP_MAX: usize = 256;
/// Bytes of bodies after which a group takes no more.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What came of one transaction of the database.
enum Attempt {
    Written,
    /// Nothing was written; the connection goes on.
    Refused {
        error: StoreError,
        data: bool,
    },
    /// Nothing was written, and the connection is gone.
    Lost(sqlx::Error),
    /// The connection went while committing.
    Unknown(sqlx::Error),
    /// Nothing was written, and nothing ever will be by this process.
    Final(StoreError),
}

impl Writer {
    /// Writes a transaction with all those that wait behind it. A request of another kind
    /// ends the group; it is answered here, except that the store is to be closed.
    pub(super) async fn group(
        &mut self,
        first: Commit,
        inbox: &mut mpsc::Receiver<Request>,
    ) -> Option<Request> {
        let mut bytes = first.changes.bytes();
        let mut commits = vec![first];
        let mut other = None;
        while commits.len() < GROUP_MAX && bytes < GROUP_BYTES {
            match inbox.try_recv() {
                Ok(Request::Commit(commit)) => {
                    bytes += commit.changes.bytes();
                    commits.push(commit);
                }
                Ok(request) => {
                    other = Some(request);
                    break;
                }
                Err(_) => break,
            }
        }
        self.write(commits).await;
        match other {
            Some(Request::Close(reply)) => return Some(Request::Close(reply)),
            Some(request) => self.answer(request).await,
            None => {}
        }
        None
    }

    async fn write(&mut self, commits: Vec<Commit>) {
        if let Err(error) = self.usable() {
            return fail(commits, &error);
        }
        let samples = self.shared.behind().take(SAMPLES_PER_GROUP);
        if let Some(commits) = self.write_with(commits, samples).await {
            // Something in it cannot be stored, though it looked right: each for itself.
            for commit in commits {
                self.write_with(vec![commit], Vec::new()).await;
            }
        }
    }

    /// Gives the commits back where one of several was at fault.
    async fn write_with(&mut self, commits: Vec<Commit>, samples: Vec<Sample>) -> Option<Vec<Commit>> {
        if let Err(error) = self.usable() {
            fail(commits, &error);
            return None;
        }
        let mut plan = self.index.plan(commits.iter().map(|commit| &commit.changes));
        if self.options.is(Bug::FailTogether)
            && let Some(error) = plan.outcomes.iter().find_map(|outcome| outcome.as_ref().err()).cloned()
        {
            self.index.undo(&plan);
            fail(commits, &error);
            return None;
        }
        if plan.is_empty() {
            self.shared.behind().put_back(samples);
            answer(commits, plan);
            return None;
        }
        let mut commits = commits;
        if self.options.is(Bug::AckBeforeCommit) {
            let outcomes = std::mem::take(&mut plan.outcomes);
            for (commit, outcome) in commits.drain(..).zip(outcomes) {
                commit.reply.send(outcome).ok();
            }
        }
        match self.attempt(&plan, &samples).await {
            Attempt::Written => self.written(commits, plan),
            Attempt::Unknown(error) => {
                self.shared.behind().put_back(samples);
                self.uncertain = Some(Uncertain { commits, plan });
                self.go_down(error, false);
            }
            Attempt::Refused { data: true, .. } if commits.len() > 1 || !samples.is_empty() => {
                self.index.undo(&plan);
                self.shared.behind().put_back(samples);
                return Some(commits);
            }
            Attempt::Refused { error, .. } => self.not_written(commits, &plan, samples, &error),
            Attempt::Lost(error) => {
                self.go_down(error, false);
                let told = self.usable().err();
                if let Some(told) = told {
                    self.not_written(commits, &plan, samples, &told);
                }
            }
            Attempt::Final(error) => {
                // Whoever is told must find the store ended.
                self.end(error.clone());
                self.not_written(commits, &plan, samples, &error);
            }
        }
        None
    }

    /// The plan is durable: everybody is told, and from now on it may never be lost.
    pub(super) fn written(&mut self, commits: Vec<Commit>, plan: Plan) {
        self.known.newest = plan.after;
        let counters = &self.shared.counters;
        count(&counters.operations, plan.ops.len() as u64);
        count(&counters.transactions, plan.outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64);
        answer(commits, plan);
    }

    /// Nothing of the plan is in the database.
    pub(super) fn not_written(
        &mut self,
        commits: Vec<Commit>,
        plan: &Plan,
        samples: Vec<Sample>,
        error: &StoreError,
    ) {
        self.index.undo(plan);
        self.shared.behind().put_back(samples);
        fail(commits, error);
    }

    async fn attempt(&mut self, plan: &Plan, samples: &[Sample]) -> Attempt {
        let fence = self.fence();
        let State::Up(session) = &mut self.state else {
            let location = self.location.to_string();
            return Attempt::Final(StoreError::Closed { location });
        };
        match apply::write(&mut session.link, fence, plan, samples).await {
            Ok(()) => {
                count(&self.shared.counters.commits, 1);
                count(&self.shared.counters.samples, samples.len() as u64);
                Attempt::Written
            }
            Err(failure) => self.sort(failure).await,
        }
    }

    /// What a failure means; afterwards no transaction is open.
    async fn sort(&mut self, failure: Failure) -> Attempt {
        let location = self.location.to_string();
        match failure {
            Failure::Fenced { by } => Attempt::Final(StoreError::Superseded { location, by }),
            Failure::Elsewhere { found } if found < self.known.newest => {
                let acknowledged = self.known.newest;
                Attempt::Final(StoreError::RolledBack { location, acknowledged, found })
            }
            Failure::Elsewhere { found } => {
                let by = format!("somebody who wrote change {found} without taking it over");
                Attempt::Final(StoreError::Superseded { location, by })
            }
            Failure::Diverged(row) => Attempt::Final(StoreError::Diverged { location, row }),
            Failure::Commit(error) => match fault::class(&error) {
                Class::Data | Class::DiskFull => self.refused(error).await,
                _ => Attempt::Unknown(error),
            },
            Failure::Statement(error) if fault::class(&error) == Class::Lost => Attempt::Lost(error),
            Failure::Statement(error) => self.refused(error).await,
        }
    }

    async fn refused(&mut self, error: sqlx::Error) -> Attempt {
        if let State::Up(session) = &mut self.state
            && session.link.rollback().await.is_err()
        {
            return Attempt::Lost(error);
        }
        let data = fault::class(&error) == Class::Data;
        Attempt::Refused { error: fault::working(&self.location, "write", error), data }
    }

    /// One piece of what may wait: samples, then what is too old.
    pub(super) async fn background(&mut self) {
        if self.flushing {
            let flushed = self.flush_some().await;
            self.flushing = matches!(flushed, Ok(more) if more);
            if let Err(error) = flushed {
                tracing::warn!(%error, "samples could not be written; they wait");
            }
            return;
        }
        let pruned = self.prune_some().await;
        if let Err(error) = &pruned {
            tracing::warn!(%error, "what is too old could not be deleted; next time");
        }
        self.told_of_pruning(pruned);
    }

    /// Answers those who wait for what is too old to be gone, once it is or cannot be. Not
    /// at a stretch: there may be millions, and commits go in between.
    pub(super) fn told_of_pruning(&mut self, so_far: Result<(), StoreError>) {
        if so_far.is_err() {
            self.pruning.clear();
        }
        if self.pruning.is_empty() {
            let pruned = std::mem::take(&mut self.pruned);
            let outcome = so_far.map(|()| pruned);
            self.prunings.drain(..).for_each(|reply| drop(reply.send(outcome.clone())));
        }
    }

    /// Writes all samples that wait.
    pub(super) async fn flush(&mut self) -> Result<(), StoreError> {
        while self.flush_some().await? {}
        Ok(())
    }

    /// Writes some samples; says whether more wait.
    async fn flush_some(&mut self) -> Result<bool, StoreError> {
        self.usable()?;
        let samples = self.shared.behind().take(SAMPLES_PER_GROUP);
        if samples.is_empty() {
            return Ok(false);
        }
        let nothing = self.index.plan([]);
        match self.attempt(&nothing, &samples).await {
            Attempt::Written => Ok(self.shared.behind().len() > 0),
            Attempt::Refused { error, data: true } => {
                tracing::error!(%error, count = samples.len(), "samples were given up: they cannot be stored");
                self.shared.behind().give_up(samples.len());
                Ok(true)
            }
            attempt => {
                self.shared.behind().put_back(samples);
                Err(self.failed(attempt))
            }
        }
    }

    /// Deletes some of what is too old.
    async fn prune_some(&mut self) -> Result<(), StoreError> {
        self.usable()?;
        let (fence, newest, now_ms) = (self.fence(), self.index.newest, self.options.clock.wall_ms());
        let (Some(rule), State::Up(session)) = (self.pruning.last(), &mut self.state) else { return Ok(()) };
        match prune::step(&mut session.link, fence, newest, rule, now_ms).await {
            Ok(gone) => {
                count(&self.shared.counters.pruned, gone);
                count(&self.shared.counters.commits, u64::from(gone > 0));
                self.pruned += gone;
                if gone < PRUNE_ROWS {
                    self.pruning.pop();
                }
                Ok(())
            }
            Err(failure) => {
                let attempt = self.sort(failure).await;
                Err(self.failed(attempt))
            }
        }
    }

    /// The consequences of an attempt that no caller waited for, and how it is told.
    fn failed(&mut self, attempt: Attempt) -> StoreError {
        match attempt {
            Attempt::Refused { error, .. } => error,
            Attempt::Final(error) => {
                self.end(error.clone());
                error
            }
            Attempt::Lost(error) | Attempt::Unknown(error) => {
                let source = Some(Arc::new(error));
                self.go_down_for(source.clone(), false);
                let location = self.location.to_string();
                StoreError::Unavailable { location, down_secs: 0, retry_secs: 1, source }
            }
            Attempt::Written => StoreError::Closed { location: self.location.to_string() },
        }
    }
}

fn answer(commits: Vec<Commit>, plan: Plan) {
    for (commit, outcome) in commits.into_iter().zip(plan.outcomes) {
        commit.reply.send(outcome).ok();
    }
}

fn fail(commits: Vec<Commit>, error: &StoreError) {
    for commit in commits {
        commit.reply.send(Err::<Version, _>(error.clone())).ok();
    }
}

//! Moves jobs on: what their steps ask for is done and looked at, outcomes bring the next
//! step, and all of it is rows of the open transaction.

use farshore_job::{Cancel, Direction, Effect, EffectId, Event, Job, OnFailure, Outcome, State};
use farshore_types::JobId;
use serde::{Deserialize, Serialize};

use super::{
    Act, Kind,
    look::{Asked, Look},
    registry, value_of,
};
use crate::{
    Answer, Core, Finding, Moment, Problem, Severity,
    rows::{About, JobRow},
};

/// Most rounds of one job at one look: each brings a step on, or is the last.
const ROUNDS_MAX: usize = 4 * farshore_job::STEPS_MAX;
/// Rows touched in one transaction after which no further job is moved on in it: it is at the
/// next look, a second later. A store takes 20,000 at once.
const MOVED_MAX: usize = 10_000;
/// Milliseconds for which a job is kept after its end.
pub(crate) const KEPT_MS: u64 = 7 * super::DAY_MS;
/// Most jobs that are kept after their end; the oldest go first.
pub(crate) const KEPT_MAX: usize = 10_000;
/// How the word of who cancels a job begins where that is a later order.
pub(crate) const SUPERSEDED: &str = "superseded by ";

impl Core {
    /// Begins a job, in the open transaction.
    pub(crate) fn begin_job(
        &mut self,
        kind: Kind,
        about: About,
        input: &impl Serialize,
        at: &Moment,
    ) -> Result<JobId, Problem> {
        let id = JobId(at.id(&format!("job {} {about:?}", kind.name())));
        let made = registry().make(kind.name(), id, value_of(input), at.wall_ms);
        let begun = made.and_then(|job| registry().advance(&job, &Event::Tick, at.wall_ms));
        let (job, _) =
            begun.map_err(|e| Problem::invalid("job", e, "name fewer things at once, and report this"))?;
        self.tables.jobs.put(JobRow { job, about });
        Ok(id)
    }

    /// The open job of a kind about something: there is at most one.
    pub(crate) fn open_job(&self, kind: Kind, about: About) -> Option<JobId> {
        let same = |row: &&JobRow| row.is_open() && row.about == about && row.job.kind == kind.name();
        self.tables.jobs.rows().find(same).map(|row| row.job.id)
    }

    /// Asks again for what every open job waits for: nobody knows what became of it.
    pub(crate) fn resume_jobs(&mut self, at: &Moment) {
        for id in self.open_jobs() {
            self.advance_job(id, &Event::Resumed, at);
        }
    }

    /// Moves all open jobs on as far as they come now.
    pub(crate) fn drive_jobs(&mut self, at: &Moment) {
        if !self.may_issue(at) {
            return;
        }
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(crate::Bug::LeavesJobs) {
            return;
        }
        for id in self.open_jobs() {
            if self.tables.mark_of_kept() > MOVED_MAX {
                break;
            }
            self.drive_job(id, at);
        }
    }

    fn open_jobs(&self) -> Vec<JobId> {
        self.tables.jobs.rows().filter(|row| row.is_open()).map(|row| row.job.id).collect()
    }

    fn drive_job(&mut self, id: JobId, at: &Moment) {
        for _ in 0..ROUNDS_MAX {
            let Some(event) = self.next_event(id, at) else { return };
            if !self.advance_job(id, &event, at) {
                return;
            }
        }
    }

    /// What happens to a job next, if anything does now.
    fn next_event(&mut self, id: JobId, at: &Moment) -> Option<Event> {
        let row = self.tables.jobs.get(&id).filter(|row| row.is_open())?;
        let outstanding: Vec<(EffectId, Option<Act>, u64)> = outstanding(&row.job, at).collect();
        let due = row.job.due_at().is_some_and(|due| due <= at.wall_ms);
        for (id, act, for_ms) in outstanding {
            let Some(act) = act else {
                return Some(Event::Ended { id, outcome: unknown_act() });
            };
            let before = self.tables.mark_of_published();
            if let Some(outcome) = self.left_early(id, at) {
                self.withdraw_effect(id);
                return Some(Event::Ended { id, outcome });
            }
            self.act(id, &act, for_ms, at);
            // What hosts hold can be compared with documents only once those say what was
            // changed just now.
            if before != self.tables.mark_of_published() {
                continue;
            }
            if let Look::End(outcome) = self.look(&Asked { id, act: &act, for_ms }, at) {
                if matches!(act, Act::MoveBack(_) | Act::LetGo { .. } | Act::Discard { .. }) {
                    // Where it ended without an answer, nothing is deleted any more.
                    self.withdraw_effect(id);
                }
                return Some(Event::Ended { id, outcome });
            }
        }
        due.then_some(Event::Tick)
    }

    /// Whether a job moved on.
    fn advance_job(&mut self, id: JobId, event: &Event, at: &Moment) -> bool {
        let Some(JobRow { job, about }) = self.tables.jobs.get(&id).cloned() else { return false };
        // One of a kind that this program does not know waits for a program that does.
        let Ok((job, effects)) = registry().advance(&job, event, at.wall_ms) else { return false };
        for effect in effects {
            if let Effect::Stop { id } = effect {
                self.withdraw_effect(id);
            }
        }
        self.tables.jobs.put(JobRow { job, about })
    }

    /// That a step which only waits is left, because its job was cancelled or goes back.
    fn left_early(&self, id: EffectId, at: &Moment) -> Option<Outcome> {
        let row = self.tables.jobs.get(&id.job)?;
        let job = &row.job;
        let spec = job.nodes.get(usize::from(id.step))?.spec()?;
        if id.direction != Direction::Do || spec.cancel != Cancel::Now {
            return None;
        }
        let stops = |node: &&farshore_job::JobNode| {
            matches!(node.state, State::Failed | State::Lost)
                && node.spec().is_some_and(|spec| spec.on_failure == OnFailure::Stop)
        };
        let again = "begin again when it is wanted".to_owned();
        let (what, advice) = match (&job.cancel, job.nodes.iter().find(stops)) {
            (Some(cancel), _) if cancel.by.starts_with(SUPERSEDED) => (
                format!("it was {}", cancel.by),
                "look at the protection: what was ordered last counts".to_owned(),
            ),
            (Some(cancel), _) => {
                let what = format!("it was cancelled by {}", cancel.by);
                match self.goes_on(row, at) {
                    Some((goes_on, advice)) => (format!("{what}; {goes_on}"), advice),
                    None => (what, again),
                }
            }
            (None, Some(node)) => (format!("'{}' failed", node.title), again),
            (None, None) => return None,
        };
        Some(Outcome::Failed { what, advice, again: false })
    }

    /// What a step asked hosts is not wanted any more.
    fn withdraw_effect(&mut self, effect: EffectId) {
        let open = self.tables.requests.rows().filter(|row| row.effect == Some(effect) && row.is_open());
        for id in open.map(|row| row.id).collect::<Vec<_>>() {
            self.tables.requests.change(&id, |row| row.withdrawn = true);
        }
    }

    /// Whether a step still waits for what was asked for it.
    pub(crate) fn is_awaited(&self, effect: EffectId) -> bool {
        let row = self.tables.jobs.get(&effect.job);
        row.is_some_and(|row| row.job.outstanding().any(|(id, _)| id == effect))
    }

    pub(crate) fn cancel_job(&mut self, id: JobId, by: &str, at: &Moment) -> Result<Answer, Problem> {
        let Some(row) = self.tables.jobs.get(&id) else { return Err(Problem::unknown("job", id)) };
        let about = row.about;
        let advanced = registry().advance(&row.job, &Event::Cancel { by: by.to_owned() }, at.wall_ms);
        let (job, effects) = advanced.map_err(|e| {
            let advice = "look at it with `farshore job show`; what it did can be ordered back";
            Problem::refused("job-not-cancellable", e, advice)
        })?;
        let changed = job != row.job;
        let warning = |(what, advice): (&str, String)| Finding {
            severity: Severity::Warning,
            code: "goes-on".to_owned(),
            machine: if let About::Machine(machine) = about { Some(machine) } else { None },
            what: what.to_owned(),
            advice,
        };
        let warnings = self.goes_on(row, at).filter(|_| changed).map(warning).into_iter().collect();
        for effect in effects {
            if let Effect::Stop { id } = effect {
                self.withdraw_effect(id);
            }
        }
        self.tables.jobs.put(JobRow { job, about });
        Ok(Answer { warnings, ..Answer::changed(changed) }.with_jobs([id]))
    }

    /// Lets go of jobs that ended long ago, and of the oldest where there are too many.
    pub(crate) fn drop_old_jobs(&mut self, at: &Moment) {
        let ended = self.tables.jobs.rows().filter_map(|row| Some((row.job.end.as_ref()?.at_ms, row.job.id)));
        let mut ended: Vec<(u64, JobId)> = ended.collect();
        let old = |at_ms: u64| at.wall_ms.saturating_sub(at_ms) > KEPT_MS;
        if ended.len() <= KEPT_MAX && !ended.iter().any(|(at_ms, _)| old(*at_ms)) {
            return;
        }
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(KEPT_MAX);
        for (n, (at_ms, id)) in ended.into_iter().enumerate() {
            if n < surplus || old(at_ms) {
                self.tables.jobs.remove(&id);
            }
        }
    }
}

/// What is waited for: by which id, what, and for how long already.
pub(super) fn outstanding<'a>(
    job: &'a Job,
    at: &Moment,
) -> impl Iterator<Item = (EffectId, Option<Act>, u64)> + use<'a> {
    let now = at.wall_ms;
    job.outstanding().map(move |(id, action)| {
        let node = &job.nodes[usize::from(id.step)];
        let run = if id.direction == Direction::Do { &node.doing } else { &node.undoing };
        let since = run.as_ref().map_or(now, |run| run.since_ms);
        (id, Act::deserialize(action).ok(), now.saturating_sub(since))
    })
}

fn unknown_act() -> Outcome {
    let what = "this vault does not know what the step asks for: a newer one began it".to_owned();
    Outcome::Failed { what, advice: "use the newer program".to_owned(), again: false }
}

//! One story: a job, a store that keeps what was stored, and those who carry effects out, who
//! keep their outcomes, as agents do. Everything else is lost in a crash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use farshore_types::JobId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Broken, Crash, Fate, MESSAGES_MAX, VAIN_MAX};
use crate::{Direction, Effect, EffectId, Event, Job, JobError, Outcome, Registry, State, Work};

/// What happens in a story. Effects are counted as they are asked for, from 0.
#[derive(Clone, Debug, Default)]
pub(super) struct Story {
    pub(super) fate: Option<(usize, Fate)>,
    pub(super) second: Option<(usize, Fate)>,
    pub(super) crash: Option<(usize, Crash)>,
    pub(super) cancel: Option<usize>,
    /// Every outcome arrives twice.
    pub(super) twice: bool,
    /// People say no.
    pub(super) refused: bool,
}

/// What was carried out under one id.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) action: Value,
    /// None: nobody ever says how it ended.
    pub(super) outcome: Option<Outcome>,
    pub(super) really_done: bool,
}

/// How a story went.
pub(super) struct Told {
    pub(super) job: Job,
    pub(super) asked: usize,
    pub(super) carried: BTreeMap<EffectId, Carried>,
    /// What went wrong on the way.
    pub(super) faults: Vec<String>,
}

struct World<'a> {
    registry: &'a Registry,
    story: &'a Story,
    stored: Job,
    now: u64,
    inbox: VecDeque<Event>,
    asked: usize,
    /// Times in a row that nothing but time was there.
    vain: usize,
    carried: BTreeMap<EffectId, Carried>,
    /// Steps that always fail, by their place and way.
    cursed: BTreeMap<(u16, Direction), Fate>,
    stopped: BTreeSet<EffectId>,
    crashed: bool,
    unrecorded: Option<EffectId>,
    faults: Vec<String>,
}

pub(super) fn tell(registry: &Registry, kind: &str, input: &Value, story: &Story) -> Result<Told, Broken> {
    let id = JobId(Uuid::from_u128(7));
    let job = registry.make(kind, id, input.clone(), 1_000_000).map_err(|e| Broken::from((e, story)))?;
    let mut world = World {
        registry,
        story,
        stored: job,
        now: 1_000_000,
        inbox: [Event::Tick].into(),
        asked: 0,
        vain: 0,
        carried: BTreeMap::new(),
        cursed: BTreeMap::new(),
        stopped: BTreeSet::new(),
        crashed: false,
        unrecorded: None,
        faults: Vec::new(),
    };
    for _ in 0..MESSAGES_MAX {
        let Some(event) = world.next_event() else { break };
        world.handle(&event).map_err(|e| Broken::from((e, story)))?;
    }
    world.look_after_the_end().map_err(|e| Broken::from((e, story)))?;
    let World { stored, asked, carried, faults, .. } = world;
    Ok(Told { job: stored, asked, carried, faults })
}

impl World<'_> {
    fn next_event(&mut self) -> Option<Event> {
        if let Some(event) = self.inbox.pop_front() {
            self.vain = 0;
            return Some(event);
        }
        if self.stored.has_ended() {
            return None;
        }
        if let Some(step) = self.awaited_person() {
            let note = "as the instructions say".to_owned();
            return Some(Event::Answer { step, by: "operator".to_owned(), done: !self.story.refused, note });
        }
        // Nothing is under way: time passes until the job wants it to. A step may be waited
        // for during years, and asked for again every minute of them.
        self.vain += 1;
        let next = if self.vain > VAIN_MAX { self.stored.due_at() } else { self.stored.wakes_at() };
        self.now = next.unwrap_or(self.now).max(self.now);
        Some(Event::Tick)
    }

    fn awaited_person(&self) -> Option<String> {
        let waits = |node: &&crate::JobNode| {
            let person = node.spec().is_some_and(|spec| matches!(spec.work, Work::Person { .. }));
            person && node.state == State::Running
        };
        self.stored.nodes.iter().find(waits).map(|node| node.name.clone())
    }

    fn handle(&mut self, event: &Event) -> Result<(), JobError> {
        let (job, effects) = match self.registry.advance(&self.stored, event, self.now) {
            Err(JobError::NoCancel { .. } | JobError::HasEnded) => return Ok(()),
            other => other?,
        };
        if let (Some(id), Event::Ended { id: ended, .. }) = (self.unrecorded, event)
            && id == *ended
        {
            self.unrecorded = None;
            self.crash();
            return Ok(());
        }
        // It is kept as text, as in a store.
        let text = serde_json::to_string(&job).map_err(|e| JobError::Unreadable { why: e.to_string() })?;
        let ended_before = self.stored.has_ended();
        self.stored = Job::parse(&text)?;
        if ended_before && self.stored != job {
            self.faults.push("a job that had ended changed".to_owned());
        }
        for effect in effects {
            match effect {
                Effect::Forget { .. } => {}
                Effect::Stop { id } => {
                    self.stopped.insert(id);
                }
                Effect::Do { id, action } => {
                    if self.asked_for(id, &action) {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Carries an effect out; whether the program was killed in it.
    fn asked_for(&mut self, id: EffectId, action: &Value) -> bool {
        let at = self.asked;
        self.asked += 1;
        if self.story.cancel == Some(at) {
            self.inbox.push_back(Event::Cancel { by: "operator".to_owned() });
        }
        let crash = self.story.crash.filter(|(n, _)| *n == at && !self.crashed).map(|(_, crash)| crash);
        if crash == Some(Crash::BeforeEffect) {
            self.crash();
            return true;
        }
        let outcome = self.carry_out(at, id, action);
        if crash == Some(Crash::AfterEffect) {
            self.crash();
            return true;
        }
        if let Some(outcome) = outcome {
            if crash == Some(Crash::BeforeRecord) {
                self.unrecorded = Some(id);
            }
            let ended = Event::Ended { id, outcome };
            self.inbox.extend(self.story.twice.then(|| ended.clone()));
            self.inbox.push_back(ended);
        }
        false
    }

    /// What one who keeps outcomes does: what has an outcome is not done again.
    fn carry_out(&mut self, at: usize, id: EffectId, action: &Value) -> Option<Outcome> {
        if let Some(carried) = self.carried.get(&id) {
            if carried.action != *action {
                self.faults.push(format!("effect {id} was asked for again with another action"));
            }
            return carried.outcome.clone();
        }
        if self.stopped.contains(&id) {
            self.faults.push(format!("effect {id} was asked for after it was stopped"));
        }
        let told = [self.story.fate, self.story.second].into_iter().flatten();
        let fate = told.filter(|(n, _)| *n == at).map(|(_, fate)| fate).next();
        if fate == Some(Fate::Fails) {
            self.cursed.insert((id.step, id.direction), Fate::Fails);
        }
        let fate = fate.or(self.cursed.get(&(id.step, id.direction)).copied());
        let (outcome, really_done) = outcome_of(fate, id);
        let carried = Carried { action: action.clone(), outcome: outcome.clone(), really_done };
        self.carried.insert(id, carried);
        outcome
    }

    /// What was under way is lost; what was stored and what was done stay.
    fn crash(&mut self) {
        self.crashed = true;
        self.now += 1;
        self.inbox = [Event::Resumed].into();
        // People ask again for what they did not get.
        let wanted = self.story.cancel.is_some_and(|at| at < self.asked) && self.stored.cancel.is_none();
        self.inbox.extend(wanted.then(|| Event::Cancel { by: "operator".to_owned() }));
    }

    /// After the end nothing may follow from anything.
    fn look_after_the_end(&mut self) -> Result<(), JobError> {
        if !self.stored.has_ended() {
            self.faults.push(format!("it does not end in {MESSAGES_MAX} messages"));
            return Ok(());
        }
        let late = self
            .carried
            .iter()
            .filter_map(|(id, carried)| Some(Event::Ended { id: *id, outcome: carried.outcome.clone()? }));
        let events: Vec<Event> = late.chain([Event::Resumed, Event::Tick]).collect();
        for event in events {
            self.now += 1_000_000_000;
            let (job, effects) = self.registry.advance(&self.stored, &event, self.now)?;
            if job != self.stored {
                self.faults.push(format!("{event:?} changed a job that had ended"));
            }
            if effects.iter().any(|effect| !matches!(effect, Effect::Forget { .. })) {
                self.faults.push(format!("{event:?} made an ended job ask for {effects:?}"));
            }
        }
        Ok(())
    }
}

/// How an effect ends that has such a fate, and whether it was really done.
fn outcome_of(fate: Option<Fate>, id: EffectId) -> (Option<Outcome>, bool) {
    let failed =
        |again| Outcome::Failed { what: format!("{id} failed"), advice: "look at it".to_owned(), again };
    match fate {
        None => (Some(Outcome::Done { result: json!({ "by": id.to_string() }) }), true),
        Some(Fate::FailsOnce | Fate::Fails) => (Some(failed(true)), false),
        Some(Fate::FailsForGood) => (Some(failed(false)), false),
        Some(Fate::Expires) => (Some(Outcome::Expired), false),
        Some(Fate::Lost) => (Some(Outcome::Lost { what: "the host is gone".to_owned() }), true),
        Some(Fate::DoneInSilence) => (None, true),
        Some(Fate::Silence) => (None, false),
    }
}

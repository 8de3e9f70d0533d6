//! The way back, and the end. Steps are taken back one at a time, the last one first, whatever
//! order they were done in. Where one cannot be taken back, those before it stay as they are:
//! what they did may be needed by what stays.

use super::Advance;
use crate::{Cause, Direction, End, Ending, JobNode, Known, Left, Phase, State, Undo};

impl Advance<'_> {
    pub(super) fn go_backward(&mut self) {
        let places: Vec<usize> = self.steps().map(|(at, _)| at).rev().collect();
        for at in places {
            let waits = match self.job.nodes[at].state {
                State::Done | State::Lost => self.take_back(at),
                State::Undoing => true,
                _ => false,
            };
            if waits {
                return;
            }
            if self.job.nodes[at].state == State::Waiting {
                self.job.nodes[at].state = State::Skipped;
            }
        }
        let ending = if self.job.cancel.is_some() { Ending::Cancelled } else { Ending::Failed };
        self.end(ending);
    }

    /// Begins to take a step back; whether there is something to wait for.
    fn take_back(&mut self, at: usize) -> bool {
        let node = &self.job.nodes[at];
        let name = node.name.clone();
        let by_effect = node.spec().is_some_and(|spec| spec.undo == Undo::Effect);
        let stuck = self.steps().find(|(_, node)| node.state == State::Left && !is_safe(node));
        if let (true, Some((_, stuck))) = (by_effect, stuck) {
            let what = format!("step '{}', which came after it, could not be taken back", stuck.name);
            self.job.nodes[at].cause = Some(Cause { what, advice: "take both back by hand".to_owned() });
            self.finish(at, State::Left);
            return false;
        }
        if !by_effect {
            self.finish(at, State::Left);
            return false;
        }
        let action = self.definition.undo(&name, &Known { job: &self.job });
        self.job.nodes[at].state = State::Undoing;
        self.begin(at, Direction::Undo, action);
        true
    }

    pub(super) fn end_forward(&mut self) {
        let went_wrong = |node: &JobNode| matches!(node.state, State::Failed | State::Lost);
        let partly = self.steps().any(|(_, node)| went_wrong(node));
        self.end(if partly { Ending::Partly } else { Ending::Succeeded });
    }

    fn end(&mut self, ending: Ending) {
        let cause = self.steps().find_map(|(_, node)| {
            let cause = node.cause.as_ref().filter(|_| ending != Ending::Succeeded)?;
            let what = format!("{}: {}", node.title, cause.what);
            Some(Cause { what, advice: cause.advice.clone() })
        });
        let left = self.steps().filter_map(|(_, node)| left_by(node)).collect();
        self.job.end = Some(End { at_ms: self.now, ending, cause, left });
        self.job.phase = Phase::Ended;
    }
}

fn is_safe(node: &JobNode) -> bool {
    node.spec().is_some_and(|spec| matches!(spec.undo, Undo::SafeToLeave { .. }))
}

fn left_by(node: &JobNode) -> Option<Left> {
    let what = node.cause.as_ref().map(|cause| cause.what.clone()).unwrap_or_default();
    let why = match (node.state, &node.spec()?.undo) {
        (State::Left, Undo::SafeToLeave { why }) => why.clone(),
        (State::Left, Undo::Effect) | (State::Lost, _) => what,
        _ => return None,
    };
    let safe = node.state == State::Left && is_safe(node);
    Some(Left { step: node.name.clone(), why, safe })
}

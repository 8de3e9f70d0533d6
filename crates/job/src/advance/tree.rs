//! The tree of steps: which may begin, and what groups show of what is in them. Nodes stand
//! before what is in them, so one walk in either direction is enough.

use super::Advance;
use crate::{JobNode, Order, Shape, State};

/// Whether what comes after a step may begin.
pub(super) fn is_finished(state: State) -> bool {
    matches!(state, State::Done | State::Failed | State::Lost | State::Skipped)
}

impl Advance<'_> {
    /// Places of steps that may begin now.
    pub(super) fn ready(&self) -> Vec<usize> {
        let nodes = &self.job.nodes;
        let finished = finished(nodes);
        // The last place stands for the job as a whole, which is a sequence.
        let top = nodes.len();
        let (mut open, mut behind) = (vec![true; top + 1], vec![false; top + 1]);
        let mut ready = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let parent = node.parent.map_or(top, usize::from);
            let waits = behind[parent] && order_of(nodes, parent) == Order::Sequence;
            open[at] = open[parent] && !waits;
            behind[parent] |= !finished[at];
            if open[at] && node.spec().is_some() && node.state == State::Waiting {
                ready.push(at);
            }
        }
        ready
    }

    /// Lets every group show what its parts make of it.
    pub(super) fn show_groups(&mut self) {
        for at in (0..self.job.nodes.len()).rev() {
            if self.job.nodes[at].spec().is_none() {
                let parent = u16::try_from(at).ok();
                let parts = || self.job.nodes[at + 1..].iter().filter(|node| node.parent == parent);
                let states: Vec<State> = parts().map(|node| node.state).collect();
                let started_ms = parts().filter_map(|node| node.started_ms).min();
                let ended_ms = parts().filter_map(|node| node.ended_ms).max();
                let state = shown(&states);
                let over = !matches!(state, State::Waiting | State::Running | State::Undoing);
                let group = &mut self.job.nodes[at];
                (group.state, group.started_ms) = (state, started_ms);
                group.ended_ms = if over { ended_ms } else { None };
            }
        }
    }
}

fn order_of(nodes: &[JobNode], at: usize) -> Order {
    match nodes.get(at).map(|node| &node.shape) {
        Some(Shape::Group { order }) => *order,
        _ => Order::Sequence,
    }
}

fn finished(nodes: &[JobNode]) -> Vec<bool> {
    let mut finished = vec![true; nodes.len()];
    for (at, node) in nodes.iter().enumerate().rev() {
        if node.spec().is_some() {
            finished[at] = is_finished(node.state);
        }
        if let Some(parent) = node.parent {
            finished[usize::from(parent)] &= finished[at];
        }
    }
    finished
}

/// The state of a group of such parts.
fn shown(parts: &[State]) -> State {
    let any = |states: &[State]| parts.iter().any(|state| states.contains(state));
    let all = |states: &[State]| parts.iter().all(|state| states.contains(state));
    if any(&[State::Undoing]) {
        State::Undoing
    } else if any(&[State::Running, State::Retrying]) {
        State::Running
    } else if all(&[State::Done]) {
        State::Done
    } else if any(&[State::Waiting]) {
        if all(&[State::Waiting]) { State::Waiting } else { State::Running }
    } else if all(&[State::Skipped]) {
        State::Skipped
    } else if any(&[State::Left]) {
        State::Left
    } else if any(&[State::Failed, State::Lost]) {
        State::Failed
    } else {
        State::Undone
    }
}

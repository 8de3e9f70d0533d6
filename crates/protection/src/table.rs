//! The life as a page for people: tables and a diagram, made of what the code answers, so that
//! they cannot say anything else. This module must never decide anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Answer, Event, Input, Life, Operation, Report, Stage, State};

/// Tables of states and operations in Markdown: what `docs/protection-life.md` has.
#[must_use]
pub fn reference() -> String {
    let mut out = "### States\n\n| state | what it is | allowed |\n|---|---|---|\n".to_owned();
    for state in State::ALL {
        let life = Life::example(state);
        let answers = life.allowed_operations(&life.example_facts());
        let allowed = answers.iter().filter(|(_, answer)| answer.is_allowed());
        let allowed: Vec<String> = allowed.map(|(operation, _)| format!("`{}`", operation.name())).collect();
        out.push_str(&format!("| **{}** | {} | {} |\n", state.name(), state.what(), allowed.join(", ")));
    }
    out.push_str("\n### Operations\n\n| operation | what it does | to be confirmed |\n|---|---|---|\n");
    for operation in Operation::ALL {
        let confirms = confirms(operation).join(", ");
        out.push_str(&format!("| `{}` | {} | {confirms} |\n", operation.name(), operation.what()));
    }
    out.push_str("\n### What is answered where an operation is not allowed\n\n");
    out.push_str("| state | operation | code | answer | instead |\n|---|---|---|---|---|\n");
    for state in State::ALL {
        let life = Life::example(state);
        for (operation, answer) in life.allowed_operations(&life.example_facts()) {
            if let Some(reason) = answer.reason() {
                let crate::Reason { code, what, advice } = reason;
                let (state, operation) = (state.name(), operation.name());
                out.push_str(&format!("| {state} | `{operation}` | `{code}` | {what} | {advice} |\n"));
            }
        }
    }
    out
}

/// What has to be confirmed for an operation in any state.
fn confirms(operation: Operation) -> Vec<&'static str> {
    let mut found = BTreeSet::new();
    for life in Life::examples() {
        let mut facts = life.example_facts();
        (facts.source.runs, facts.target.runs) = (None, None);
        if let Answer::Allowed { confirm } = life.judge(&facts, operation) {
            found.extend(confirm);
        }
    }
    found.into_iter().map(crate::Confirm::name).collect()
}

/// What leads from state to state, as a Mermaid diagram. What leads away from nearly every
/// state is left to the text around it.
#[must_use]
pub fn diagram() -> String {
    let mut edges: BTreeMap<(State, State), BTreeSet<String>> = BTreeMap::new();
    for life in Life::examples() {
        let from = life.state();
        for (label, next) in life.ways() {
            if next.state() != from {
                edges.entry((from, next.state())).or_default().insert(label);
            }
        }
    }
    let mut out = "```mermaid\nstateDiagram-v2\n    [*] --> seeding: enable\n".to_owned();
    for ((from, to), labels) in edges {
        let labels: Vec<String> = labels.into_iter().collect();
        out.push_str(&format!("    {} --> {}: {}\n", id(from), id(to), labels.join(" / ")));
    }
    out.push_str("```\n");
    out
}

/// Mermaid takes a dash for the beginning of an arrow.
fn id(state: State) -> String {
    state.name().replace('-', "_")
}

impl Life {
    /// Where a life can go, and by what.
    fn ways(&self) -> Vec<(String, Life)> {
        let mut ways = Vec::new();
        let facts = self.example_facts();
        for operation in Operation::ALL {
            let everywhere = matches!(operation, Operation::Disable | Operation::UnplannedFailover);
            let input = Input::Order(Box::new(self.example_order(operation, 5)));
            if let (false, Ok(step)) = (everywhere, self.step(&input, &facts)) {
                ways.push((operation.name().to_owned(), step.life));
            }
        }
        for (_, event) in self.example_reports() {
            let everywhere = matches!(event, Event::Owned { .. });
            let name = word(&event);
            let input = Input::Report(Report { epoch: self.epoch, event });
            if let (false, Ok(step)) = (everywhere, self.step(&input, &facts)) {
                ways.push((format!("({name})"), step.life));
            }
        }
        ways.retain(|(_, life)| self.stage == Stage::Disabled || life.stage != Stage::Disabled);
        ways
    }
}

/// A report in a word or two.
const fn word(event: &Event) -> &'static str {
    match event {
        Event::FirstPoint => "first point",
        Event::TrackerLost => "changes not tracked",
        Event::CopiesAnew => "copied anew",
        Event::Resynced => "compared",
        Event::Stopped => "stopped",
        Event::Sealed { .. } => "sealed",
        Event::Accepted { .. } => "accepted",
        Event::RunsAgain => "runs again",
        Event::Runs { .. } => "runs",
        Event::CannotRun { .. } => "cannot run",
        Event::OwnKept => "own writes kept",
        Event::Adopted { .. } => "adopted",
        Event::DrillRuns => "drill runs",
        Event::DrillOverdue => "drill overdue",
        Event::DrillGone => "drill gone",
        Event::DrillFound { .. } => "drill found",
        Event::FlattenBegun => "time to flatten",
        Event::Flattened => "flattened",
        Event::Disks { .. } => "disks told",
        Event::Owned { .. } => "taken over on a host",
        Event::Moved { .. } => "moved",
    }
}

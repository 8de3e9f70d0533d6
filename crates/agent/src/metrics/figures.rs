//! What is to be shown, copied from the agent in one look.

use std::{fmt, sync::Arc, time::Duration};

use farshore_control::report::{AppPoints, CycleFacts, CycleTotals, SourceState, Space};
use farshore_figures::{Labels, Sheet, prometheus_client::encoding::DescriptorEncoder, write_all};

use super::known::{AGENT, PROBLEM, REPLICA, SOURCE, SPACE};
use crate::{Agent, commands, control::ReplicaLine, managed};

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) agent: One,
    pub(super) sources: Vec<SourceFigures>,
    pub(super) replicas: Vec<ReplicaFigures>,
    pub(super) spaces: Vec<Room>,
    pub(super) problems: Vec<ProblemCode>,
}

/// The agent itself.
#[derive(Debug, Default)]
pub(super) struct One {
    pub(super) host: String,
    pub(super) uptime_ms: u64,
    pub(super) certificate_until_ms: Option<u64>,
    /// Milliseconds since anybody above has answered; of an agent under a vault.
    pub(super) silent_ms: Option<u64>,
}

/// A machine that is replicated from here.
#[derive(Debug)]
pub(super) struct SourceFigures {
    pub(super) machine: String,
    pub(super) id: String,
    pub(super) rpo_ms: Option<u64>,
    pub(super) totals: CycleTotals,
    pub(super) last: Option<CycleFacts>,
    pub(super) pending: Option<u64>,
    pub(super) apps: Option<AppPoints>,
}

/// A replica that is kept here.
#[derive(Debug)]
pub(super) struct ReplicaFigures {
    pub(super) machine: String,
    pub(super) id: String,
    pub(super) line: ReplicaLine,
}

/// Room where replicas and scratch files are kept.
#[derive(Debug)]
pub(super) struct Room(pub(super) Space);

/// Something that is wrong with the host as a whole.
#[derive(Debug)]
pub(super) struct ProblemCode(pub(super) String);

impl Labels for One {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("host", &self.host), ("version", env!("CARGO_PKG_VERSION"))]
    }
}

impl Labels for SourceFigures {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("machine", &self.machine), ("id", &self.id)]
    }
}

impl Labels for ReplicaFigures {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("machine", &self.machine), ("id", &self.id)]
    }
}

impl Labels for Room {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("path", &self.0.path), ("use", &self.0.of)]
    }
}

impl Labels for ProblemCode {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("code", &self.0)]
    }
}

impl Sheet for Figures {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        write_all(encoder, AGENT, std::slice::from_ref(&self.agent))?;
        write_all(encoder, SOURCE, &self.sources)?;
        write_all(encoder, REPLICA, &self.replicas)?;
        write_all(encoder, SPACE, &self.spaces)?;
        write_all(encoder, PROBLEM, &self.problems)
    }
}

impl Figures {
    pub(super) async fn of(agent: &Arc<Agent>, uptime: Duration) -> Figures {
        let managed = agent.managed();
        let replicas = commands::status(agent).await.map(|status| status.replicas).unwrap_or_default();
        let problems = managed.map(|managed| managed.problems()).unwrap_or_default();
        Figures {
            agent: One {
                host: agent.config().name.clone(),
                uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
                certificate_until_ms: Some(managed::certificate_until(agent)).filter(|until| *until > 0),
                silent_ms: managed.map(|managed| managed.silent_ms()),
            },
            sources: sources(agent),
            replicas: replicas.into_iter().map(replica).collect(),
            spaces: managed::space(agent).into_iter().map(Room).collect(),
            problems: problems.into_iter().map(|problem| ProblemCode(problem.code)).collect(),
        }
    }
}

fn replica(line: ReplicaLine) -> ReplicaFigures {
    ReplicaFigures { machine: line.machine.clone(), id: line.id.to_string(), line }
}

/// Those that a vault orders, also while they rest; and those of the configuration.
fn sources(agent: &Agent) -> Vec<SourceFigures> {
    let ordered = agent.managed().map(|managed| managed.source_states(agent)).unwrap_or_default();
    let own = agent.sources().begun().into_iter();
    let own = own.filter(|source| ordered.iter().all(|(_, state)| state.machine != source.machine));
    let own: Vec<SourceFigures> = own
        .map(|source| {
            let status = source.status.borrow().clone();
            let totals = status.totals;
            SourceFigures {
                machine: source.settings.machine.clone(),
                id: source.machine.to_string(),
                rpo_ms: status.rpo_ms(agent.clock.wall_ms()),
                totals: CycleTotals {
                    cycles: totals.cycles,
                    missed: totals.missed,
                    failed: totals.failed,
                    sent: totals.sent,
                    resyncs: totals.resyncs,
                    took_ms: 0,
                },
                last: status.last_cycle.map(|cycle| CycleFacts {
                    point: cycle.id,
                    dirty: cycle.dirty,
                    sent: cycle.sent,
                    took_ms: cycle.took_ms,
                }),
                pending: None,
                apps: Some(managed::app_points(&status.apps)),
            }
        })
        .collect();
    ordered.into_iter().map(|(name, state)| of_state(name, &state)).chain(own).collect()
}

fn of_state(name: String, state: &SourceState) -> SourceFigures {
    SourceFigures {
        machine: name,
        id: state.machine.to_string(),
        rpo_ms: state.newest.map(|newest| newest.age_ms),
        totals: state.totals,
        last: state.last_cycle,
        pending: Some(state.pending),
        apps: state.apps.clone(),
    }
}

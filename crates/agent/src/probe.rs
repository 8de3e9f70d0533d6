//! Asking another host whether it runs a machine, before the machine is brought up here, and
//! answering that. The question is a greeting by epoch 0, which no owner is ever issued; the
//! answer is always a refusal, whose code says it. This module must never decide what
//! follows from an answer.

use std::{sync::Arc, time::Duration};

use farshore_control::Wire;
use farshore_hypervisor::Kind;
use farshore_link::{Dial, Endpoint, Greeting, LinkError, Session, SessionOptions, TlsDial};
use farshore_types::{Epoch, MachineId};
use farshore_wire::{Hello, Refusal, RefusalCode};

use serde::{Deserialize, Serialize};

use crate::{Agent, AgentError};

/// Longest wait for an answer: a host that is gone must not hold a bring-up up for long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Nobody owns anything by this epoch.
const QUESTION: Epoch = Epoch { number: 0, token: 0 };

/// What another host says of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It runs there, or is started there.
    Runs(String),
    /// It does not.
    DoesNot,
    /// Nobody knows.
    Silent(String),
}

/// Asks a host's agent whether the machine runs there.
pub(crate) async fn ask(agent: &Agent, machine: MachineId, name: &str, host: &str, address: &str) -> Answer {
    let identity = match agent.identity() {
        Ok(identity) => identity,
        Err(error) => return Answer::Silent(error.to_string()),
    };
    let endpoint = Endpoint { address: address.to_owned(), server_name: host.to_owned() };
    let greeting = Greeting {
        machine,
        machine_name: name.to_owned(),
        epoch: QUESTION,
        agent: format!("question of {}", agent.config().name),
    };
    let dial = Arc::new(TlsDial::new(endpoint, identity, DEADLINE));
    let asked = Session::over(dial, greeting, SessionOptions::default());
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Err(LinkError::Refused { refusal, .. })) => match refusal.code {
            RefusalCode::BroughtUp => Answer::Runs(refusal.message),
            RefusalCode::UnknownMachine => Answer::DoesNot,
            _ => Answer::Silent(format!("it answered: {}", refusal.message)),
        },
        Ok(Err(error)) => Answer::Silent(error.to_string()),
        Ok(Ok(_)) => Answer::Silent("its agent does not understand the question".to_owned()),
        Err(_) => Answer::Silent(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

/// What another host's agent says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    agent: String,
    free: u64,
    clock_ms: u64,
}

/// A host that was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// Milliseconds to set a session up.
    pub(crate) setup_ms: u64,
    /// What its clock is ahead of this one's, in milliseconds: beyond the round trip.
    pub(crate) skew_ms: i64,
    /// Its agent.
    pub(crate) agent: String,
    /// Bytes free for replicas there.
    pub(crate) free: u64,
}

/// Asked about no machine at all, a host tells about itself.
const NO_MACHINE: MachineId = MachineId(uuid::Uuid::nil());

/// Meets a host's agent: sets a session up as far as its consent, and measures that.
///
/// # Errors
/// Whatever keeps the two from meeting.
pub(crate) async fn measure(agent: &Agent, host: &str, address: &str, wire: Wire) -> Result<Met, AgentError> {
    let endpoint = Endpoint { address: address.to_owned(), server_name: host.to_owned() };
    let dial: Arc<dyn Dial> = match wire {
        Wire::Certificate => Arc::new(TlsDial::new(endpoint, agent.identity()?, DEADLINE)),
        Wire::Kerberos => Arc::new(agent.kerberos().dial(endpoint, DEADLINE)?),
    };
    let greeting = Greeting {
        machine: NO_MACHINE,
        machine_name: String::new(),
        epoch: QUESTION,
        agent: format!("question of {}", agent.config().name),
    };
    let (begun, sent_ms) = (tokio::time::Instant::now(), agent.clock.wall_ms());
    let asked = Session::over(dial, greeting, SessionOptions::default());
    let strange = |what: String| AgentError::Request {
        what: format!("host '{host}' at {address} {what}"),
        advice: "look whether an agent of this version runs there, and into its log".to_owned(),
    };
    let refusal = match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Err(LinkError::Refused { refusal, .. })) => refusal,
        Ok(Err(error)) => return Err(error.into()),
        Ok(Ok(_)) => return Err(strange("does not understand the question".to_owned())),
        Err(_) => return Err(strange(format!("does not answer within {} s", DEADLINE.as_secs()))),
    };
    let setup_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let about: About = serde_json::from_str(&refusal.message)
        .map_err(|_| strange(format!("answers: {}; {}", refusal.message, refusal.advice)))?;
    let skew_ms = skew(about.clock_ms, sent_ms, setup_ms);
    Ok(Met { setup_ms, skew_ms, agent: about.agent, free: about.free })
}

/// How far a clock that was read within `[sent, sent + took]` is ahead, at least.
fn skew(there: u64, sent: u64, took: u64) -> i64 {
    let ahead = there.saturating_sub(sent.saturating_add(took));
    let behind = sent.saturating_sub(there);
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(ahead) - signed(behind)
}

fn about(agent: &Agent) -> Refusal {
    let about = About {
        agent: concat!("farshore-agent ", env!("CARGO_PKG_VERSION")).to_owned(),
        free: agent.free_space(&agent.config().replica_dir).unwrap_or(0),
        clock_ms: agent.clock.wall_ms(),
    };
    let text = serde_json::to_string(&about).unwrap_or_default();
    Refusal::new(RefusalCode::UnknownMachine, text, "nothing is to be done")
}

/// Whether a greeting is such a question.
pub(crate) fn is_question(hello: &Hello) -> bool {
    hello.epoch == QUESTION
}

/// Answers one.
pub(crate) async fn answer(agent: Option<&Arc<Agent>>, machine: MachineId) -> Refusal {
    let unknown = |why: String| Refusal::new(RefusalCode::Other, why, "look at that host itself");
    let Some(agent) = agent else { return unknown("this agent has no hypervisor".to_owned()) };
    if machine == NO_MACHINE {
        return about(agent);
    }
    let found = match agent.hypervisor().await {
        Ok(hypervisor) => hypervisor.machine(machine).await,
        Err(error) => return unknown(error.fault().what),
    };
    let host = &agent.config().name;
    let starts = agent.managed().is_some_and(|managed| managed.is_starting(machine));
    match found {
        Ok(there) if there.power.is_off() && starts => {
            let message = format!("machine '{}' is being started on host {host}", there.name);
            Refusal::new(RefusalCode::BroughtUp, message, "stop it there first")
        }
        Ok(there) if there.power.is_off() => {
            let message = format!("machine '{}' is off on host {host}", there.name);
            Refusal::new(RefusalCode::UnknownMachine, message, "nothing is to be done")
        }
        Ok(there) => {
            let power = crate::commands::power(&there.power);
            let message = format!("machine '{}' is {power} on host {host}", there.name);
            Refusal::new(RefusalCode::BroughtUp, message, "stop it there first")
        }
        Err(error) if error.kind == Kind::NoSuchMachine && starts => {
            let message = format!("machine {machine} is being brought up on host {host}");
            Refusal::new(RefusalCode::BroughtUp, message, "stop it there first")
        }
        Err(error) if error.kind == Kind::NoSuchMachine => {
            let message = format!("host {host} has no such machine");
            Refusal::new(RefusalCode::UnknownMachine, message, "nothing is to be done")
        }
        Err(error) => unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_within_the_round_trip_is_not_skewed() {
        assert_eq!(skew(1000, 1000, 20), 0);
        assert_eq!(skew(1020, 1000, 20), 0);
        assert_eq!(skew(1500, 1000, 20), 480);
        assert_eq!(skew(400, 1000, 20), -600);
    }
}

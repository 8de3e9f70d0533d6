//! Asking another host whether it runs a machine, before the machine is brought up here, and
//! answering that. The question is a greeting by epoch 0, which no owner is ever issued; the
//! answer is always a refusal, whose code says it. This module must never decide what
//! follows from an answer.

use std::{sync::Arc, time::Duration};

use farshore_hypervisor::Kind;
use farshore_link::{Endpoint, Greeting, Identity, LinkError, Session, SessionOptions, TlsDial};
use farshore_types::{Epoch, MachineId};
use farshore_wire::{Hello, Refusal, RefusalCode};

use crate::Agent;

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
    let identity = match Identity::load(&agent.config().identity_dir) {
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

/// Whether a greeting is such a question.
pub(crate) fn is_question(hello: &Hello) -> bool {
    hello.epoch == QUESTION
}

/// Answers one.
pub(crate) async fn answer(agent: Option<&Arc<Agent>>, machine: MachineId) -> Refusal {
    let unknown = |why: String| Refusal::new(RefusalCode::Other, why, "look at that host itself");
    let Some(agent) = agent else { return unknown("this agent has no hypervisor".to_owned()) };
    let found = match agent.hypervisor().await {
        Ok(hypervisor) => hypervisor.machine(machine).await,
        Err(error) => return unknown(error.fault().what),
    };
    let host = &agent.config().name;
    match found {
        Ok(there) if there.power.is_off() => {
            let message = format!("machine '{}' is off on host {host}", there.name);
            Refusal::new(RefusalCode::UnknownMachine, message, "nothing is to be done")
        }
        Ok(there) => {
            let power = crate::commands::power(&there.power);
            let message = format!("machine '{}' is {power} on host {host}", there.name);
            Refusal::new(RefusalCode::BroughtUp, message, "stop it there first")
        }
        Err(error) if error.kind == Kind::NoSuchMachine => {
            let message = format!("host {host} has no such machine");
            Refusal::new(RefusalCode::UnknownMachine, message, "nothing is to be done")
        }
        Err(error) => unknown(error.to_string()),
    }
}

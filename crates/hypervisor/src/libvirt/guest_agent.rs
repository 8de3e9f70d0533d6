//! The guest's agent (qemu-ga), asked by commands of its own with a time limit each: libvirt's
//! calls for the same wait without end for an agent that hangs, and keep all others from it
//! meanwhile. Where libvirt has lost sight of the agent, it is asked past libvirt. This module must never decide how long a guest stays frozen.

use std::{io, time::Duration};

use farshore_types::MachineId;
use serde::{Deserialize, de::DeserializeOwned};
use virt::{connect::Connect, domain::Domain};

use super::{
    agent_line::AgentLine,
    fault::{Call, Fault},
    lookup,
};
use crate::Kind;

/// Longest that libvirt takes besides the agent's own time: 5 s to find the agent's voice again
/// after an answer that did not come, 30 s where another call has the agent.
const BESIDES: Duration = Duration::from_secs(40);

/// How long libvirt is given to find the agent of a machine that it has just found itself.
const FINDS: Duration = Duration::from_millis(1500);

/// Longest wait for a call that gives the agent `patience`.
pub(super) fn deadline(patience: Duration) -> Duration {
    patience + BESIDES
}

pub(super) fn freeze(connection: &Connect, id: MachineId, patience: Duration) -> Call<u32> {
    ask(connection, id, "guest-fsfreeze-freeze", patience)
}

pub(super) fn thaw(connection: &Connect, id: MachineId, patience: Duration) -> Call<u32> {
    ask(connection, id, "guest-fsfreeze-thaw", patience)
}

pub(super) fn is_frozen(connection: &Connect, id: MachineId, patience: Duration) -> Call<bool> {
    let status: String = ask(connection, id, "guest-fsfreeze-status", patience)?;
    Ok(status != "thawed")
}

fn ask<T: DeserializeOwned>(
    connection: &Connect,
    id: MachineId,
    command: &str,
    patience: Duration,
) -> Call<T> {
    let domain = started(connection, id)?;
    let secs = i32::try_from(patience.as_secs().max(1)).unwrap_or(i32::MAX);
    let asked = format!("{{\"execute\":\"{command}\"}}");
    let through = || domain.qemu_agent_command(&asked, secs, 0).map_err(Fault::from);
    let answered = through().or_else(|fault| {
        if fault.kind != Kind::NoAgent {
            return Err(fault);
        }
        // A libvirt that has just begun may be about to find the agent, and then has its line.
        std::thread::sleep(FINDS);
        through()
    });
    let text = match answered {
        Ok(text) => text,
        Err(fault) => match fault.kind {
            Kind::NoAgent => past_libvirt(&domain, &asked, patience).unwrap_or(Err(fault))?,
            // libvirt says so of a paused one, too, whose file systems are as they were.
            Kind::NotRunning if domain.is_active().unwrap_or(true) => {
                let paused = Fault::new(Kind::Timeout, "it is paused, and its guest agent cannot answer");
                return Err(paused.advise("let the machine run"));
            }
            _ => return Err(fault),
        },
    };
    answer(command, &text)
}

/// The machine, started. One whose state is kept in a file is as it was then when it goes on: what
/// stood frozen still does.
fn started(connection: &Connect, id: MachineId) -> Call<Domain> {
    let domain = lookup::domain(connection, id)?;
    if domain.is_active()? {
        return Ok(domain);
    }
    let saved = domain.has_managed_save(0)? || lookup::is_saved(domain.get_state()?);
    Err(match saved {
        true => Fault::new(Kind::Timeout, "its state is saved, and its guest agent cannot answer")
            .advise("let the machine run"),
        false => Fault::new(Kind::NotRunning, "it is not running"),
    })
}

/// Asks the agent itself, where libvirt does not know it; none where it does not answer either.
fn past_libvirt(domain: &Domain, command: &str, patience: Duration) -> Option<Call<String>> {
    let answer = AgentLine::open(domain)?.ask(command, patience.max(Duration::from_secs(1)));
    Some(answer.and_then(refused).map_err(|e| Fault::new(kind_of(&e), format!("its guest agent: {e}"))))
}

/// An answer that is a refusal, as an error.
fn refused(answer: String) -> io::Result<String> {
    let refusal = answer.contains("\"error\"");
    if refusal { Err(io::Error::other(answer)) } else { Ok(answer) }
}

fn kind_of(error: &io::Error) -> Kind {
    let text = error.to_string();
    match error.kind() {
        io::ErrorKind::Other if text.contains("frozen state") => Kind::Busy,
        io::ErrorKind::Other if text.contains("CommandNotFound") || text.contains("disabled") => {
            Kind::Unsupported
        }
        io::ErrorKind::Other => Kind::Other,
        _ => Kind::Timeout,
    }
}

/// Asks the agent to shut the guest down, where libvirt does not know the agent; whether it heard.
pub(super) fn shut_down_past_libvirt(domain: &Domain) -> bool {
    let order = "{\"execute\":\"guest-shutdown\",\"arguments\":{\"mode\":\"powerdown\"}}";
    // It answers nothing to that.
    AgentLine::open(domain).is_some_and(|mut line| line.say(order).is_ok())
}

/// What the agent sends.
#[derive(Deserialize)]
struct Answer<T> {
    #[serde(rename = "return")]
    value: T,
}

fn answer<T: DeserializeOwned>(command: &str, text: &str) -> Call<T> {
    let unread =
        |e| Fault::new(Kind::Other, format!("the guest agent's answer to {command} is '{text}': {e}"));
    serde_json::from_str::<Answer<T>>(text).map(|answer| answer.value).map_err(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_agent_are_read_and_what_is_none_is_shown() {
        assert_eq!(answer::<u32>("x", "{\"return\":3}").unwrap(), 3);
        assert_eq!(answer::<String>("x", "{\"return\":\"frozen\"}").unwrap(), "frozen");
        let fault = answer::<u32>("guest-fsfreeze-thaw", "{\"return\":{}}").unwrap_err();
        assert!(
            fault.detail.contains("guest-fsfreeze-thaw") && fault.detail.contains("{}"),
            "{}",
            fault.detail
        );
    }
}

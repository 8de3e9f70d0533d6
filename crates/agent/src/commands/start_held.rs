//! `start-held`: a person on this host stands in for the witness that does not answer. Logged; the
//! vault sees by the machine's standing that it is held no more. This module must never start
//! anything itself: what is known here still counts.

use std::sync::Arc;

use crate::{Agent, AgentError, control::HeldStarts};

pub(crate) async fn start_held(agent: &Arc<Agent>, machine: &str) -> Result<HeldStarts, AgentError> {
    let there = agent.hypervisor().await?.find(machine).await?;
    let overridden = agent.managed().is_some_and(|managed| managed.override_witness(there.id));
    if !overridden {
        return Err(AgentError::Request {
            what: format!("machine '{}' is not held for want of a witness", there.name),
            advice: "`status` shows how it stands; a machine that another host owns is not started here"
                .to_owned(),
        });
    }
    tracing::warn!(machine = there.name, "a person says that it may start though nobody answers");
    Ok(HeldStarts { machine: there.name })
}

//! Guests that a killed agent may have left frozen, of machines that are replicated or not:
//! each is thawed until it is certain. This module must never freeze one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use farshore_capture::{is_marked_frozen, thaw_left};
use farshore_types::MachineId;
use tokio_util::sync::CancellationToken;

use crate::{Agent, AgentError};

/// How often a guest is looked at again.
const PAUSE: Duration = Duration::from_secs(2);

/// The machines that may stand frozen, and where their replications keep their state.
fn marked(agent: &Agent) -> Vec<(MachineId, PathBuf)> {
    let dir = agent.config().state_dir.join("sources");
    let names = agent.files.list(&dir).unwrap_or_default();
    let states = names.iter().filter_map(|name| Some((name.parse().ok()?, dir.join(name))));
    states.filter(|(_, state)| is_marked_frozen(&*agent.files, state)).collect()
}

/// Thaws what stands frozen, as far as that can be done now. Whether there was anything to thaw.
///
/// # Errors
/// The last of what stood in the way; the others were seen to all the same.
pub(crate) async fn look(agent: &Agent) -> Result<bool, AgentError> {
    thaw(agent, marked(agent)).await
}

async fn thaw(agent: &Agent, machines: Vec<(MachineId, PathBuf)>) -> Result<bool, AgentError> {
    let (mut thawed, mut last) = (false, None);
    for (id, state) in machines {
        let hypervisor = agent.hypervisor().await?;
        match thaw_left(&*hypervisor, &*agent.files, &state, id).await {
            Ok(true) => {
                tracing::warn!(machine = %id, "thawed: an agent that was killed had frozen it for a point");
                thawed = true;
            }
            Ok(false) => {}
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(thawed), |error| Err(error.into()))
}

/// Sees to what was left before this agent began, until it is certain.
pub(crate) fn begin(agent: &Arc<Agent>, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (agent, left) = (Arc::clone(agent), marked(agent));
    let see_to_it = async move {
        while let Err(error) = thaw(&agent, left.clone()).await {
            tracing::warn!(error = error.fault().what, "a guest may stand frozen: it is tried again");
            tokio::time::sleep(PAUSE).await;
        }
    };
    async move {
        stop.run_until_cancelled(see_to_it).await;
    }
}

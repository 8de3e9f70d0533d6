//! Guests that a killed agent may have left frozen, of machines that are replicated or not:
//! each is thawed until it is certain. This module must never freeze one.

use std::{sync::Arc, time::Duration};

use farshore_capture::Unthawed;
use tokio_util::sync::CancellationToken;

use crate::{Agent, AgentError};

/// How often a guest is looked at again.
const PAUSE: Duration = Duration::from_secs(2);

/// What is left of an agent's freezes.
#[derive(Default)]
pub(crate) struct Left(Vec<Unthawed>);

impl Left {
    /// What is there now.
    pub(crate) fn find(agent: &Agent) -> Left {
        let mut left = Left::default();
        left.add(agent);
        left
    }

    /// Adds what has come since.
    pub(crate) fn add(&mut self, agent: &Agent) {
        let dir = agent.config().state_dir.join("sources");
        for name in agent.files.list(&dir).unwrap_or_default() {
            let found = name.parse().ok().and_then(|id| Unthawed::find(&*agent.files, &dir.join(name), id));
            self.0.extend(found.filter(|found| !self.0.iter().any(|known| known.is(found))));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at each once, all at a time: one that does not answer keeps nothing from the others.
    /// What is certain goes from the list.
    ///
    /// # Errors
    /// The last of what stood in the way.
    pub(crate) async fn thaw(&mut self, agent: &Agent) -> Result<(), AgentError> {
        if self.is_empty() {
            return Ok(());
        }
        let hypervisor = agent.hypervisor().await?;
        let mut looks = tokio::task::JoinSet::new();
        for mut one in std::mem::take(&mut self.0) {
            let (hypervisor, files) = (Arc::clone(&hypervisor), Arc::clone(&agent.files));
            looks.spawn(async move { (one.thaw(&*hypervisor, &*files).await, one) });
        }
        let mut last = Ok(());
        while let Some(look) = looks.join_next().await {
            let Ok((certain, one)) = look else { continue };
            match certain {
                Ok(true) => {
                    let machine = one.machine();
                    match one.stood() {
                        true => tracing::warn!(%machine, "thawed: an agent that was killed had frozen it"),
                        false => {
                            tracing::info!(%machine, "not frozen: an agent was killed while it froze it");
                        }
                    }
                    continue;
                }
                Ok(false) => {}
                Err(error) => last = Err(error.into()),
            }
            self.0.push(one);
        }
        last
    }
}

/// Sees to what was left before this agent began, until it is certain.
pub(crate) fn begin(agent: &Arc<Agent>, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
    let (agent, mut left) = (Arc::clone(agent), Left::find(agent));
    let see_to_it = async move {
        while !left.is_empty() {
            if let Err(error) = left.thaw(&agent).await {
                tracing::warn!(error = error.fault().what, "a guest may stand frozen: it is tried again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    async move {
        stop.run_until_cancelled(see_to_it).await;
    }
}

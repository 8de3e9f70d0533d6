//! An agent that serves, on the files that a world's agent left.

use std::{sync::Arc, time::Duration};

use farshore_agent::{
    Agent, Config,
    control::{ReplicaLine, Reply, Request},
};
use farshore_hypervisor::simulated::Simulated;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::world::{MACHINE, World};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent that serves.
pub(crate) struct Serving {
    pub(crate) agent: Arc<Agent>,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// Ends the world's agent, and waits until it has let the store go.
pub(crate) async fn end(world: World) -> (tempfile::TempDir, Config, Simulated) {
    world.stop.cancel();
    let World { agent, host, dir, .. } = world;
    let config = agent.config().clone();
    drop(agent);
    let begun = std::time::Instant::now();
    while Agent::new(config.clone()).replicas().get(MACHINE).await.is_err() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (dir, config, host)
}

/// Begins an agent that serves.
pub(crate) fn begin(config: Config, host: Simulated) -> Serving {
    let agent = Arc::new(Agent::new(config).with_hypervisor(Arc::new(host)).serving());
    let stop = CancellationToken::new();
    let (served, token) = (agent.clone(), stop.clone());
    let task = tokio::spawn(async move { farshore_agent::serve(served, None, token).await.unwrap() });
    Serving { agent, stop, task: AbortOnDropHandle::new(task) }
}

/// The one and then the other.
pub(crate) async fn serving(world: World) -> (tempfile::TempDir, Serving) {
    let (dir, config, host) = end(world).await;
    (dir, begin(config, host))
}

impl Serving {
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&ReplicaLine) -> bool) -> ReplicaLine {
        let begun = std::time::Instant::now();
        loop {
            let observer = farshore_agent::control::Observer::new(CancellationToken::new()).0;
            let Ok(Reply::Status(status)) = self.agent.handle(Request::Status, &observer).await else {
                panic!()
            };
            let line = status.replicas.into_iter().next().unwrap();
            if holds(&line) {
                return line;
            }
            assert!(begun.elapsed() < PATIENCE, "never: {what}; it is {line:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

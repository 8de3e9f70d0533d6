//! What is measured of an agent, for Prometheus: by its own clock alone. This module must never
//! change anything.

mod figures;
mod known;

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use farshore_figures::{Board, Source};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Agent, AgentError};
use figures::Figures;

struct Shown {
    agent: Arc<Agent>,
    begun: Instant,
    board: Board<Figures>,
}

#[async_trait]
impl Source for Shown {
    async fn text(&self) -> Option<String> {
        self.board.text(Figures::of(&self.agent, self.begun.elapsed()).await).ok()
    }
}

/// Listens at `address` and answers until stopped; where it listens.
///
/// # Errors
/// It cannot listen there.
pub(crate) async fn serve(
    address: &str,
    agent: &Arc<Agent>,
    stop: &CancellationToken,
) -> Result<SocketAddr, AgentError> {
    let shown = Shown { agent: Arc::clone(agent), begun: Instant::now(), board: Board::new(|_| {}) };
    farshore_figures::serve(address, Arc::new(shown), stop).await.map_err(|error| AgentError::Request {
        what: format!("cannot listen at metrics_listen = \"{address}\": {error}"),
        advice: "choose another address and port, such as 127.0.0.1:7413".to_owned(),
    })
}

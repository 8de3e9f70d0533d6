//! Runs a request: through the running agent where one answers, else in this process. This
//! module must never treat the two differently beyond that.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Global, Output, bars::Bars, show};
use crate::{
    Agent, AgentError, Config,
    control::{self, Event, Observer, Reply, Request, Running},
    lock::Lock,
    watchdog::Watchdog,
};

/// Status of a process that was told to stop twice.
const IMPATIENT: i32 = 130;

/// One command of a person or a script.
pub(super) struct Session {
    global: Global,
}

impl Session {
    pub(super) fn new(global: Global) -> Session {
        Session { global }
    }

    /// Runs it and shows the answer.
    pub(super) fn run(self, request: Request) -> Result<(), AgentError> {
        let config = self.global.load()?;
        let reply = runtime()?.block_on(self.work(config, request))?;
        match self.global.output {
            Output::Json => show::print(&show::json(&reply)),
            Output::Human => show::print(&show::human(&reply)),
        }
    }

    async fn work(&self, config: Config, request: Request) -> Result<Reply, AgentError> {
        let stop = stop_by_signal()?;
        let (observer, events) = Observer::new(stop);
        let shown = tokio::spawn(show_events(events));
        let result = match Running::find(&config.socket_path()).await? {
            Some(running) => control::ask(running, request, &observer).await,
            None => self.directly(config, request, &observer).await,
        };
        drop(observer);
        // The answer comes after the last event.
        drop(shown.await);
        result
    }

    async fn directly(
        &self,
        config: Config,
        request: Request,
        observer: &Observer,
    ) -> Result<Reply, AgentError> {
        let agent = Arc::new(Agent::new(config));
        if !matches!(request, Request::Replicate(_)) {
            return agent.handle(request, observer).await;
        }
        // Replicating makes this process an agent: alone, and watched over.
        let _lock = Lock::take(&*agent.files, agent.config()).await?;
        let watchdog = Watchdog::spawn(&super::serve::watchdog_command(&self.global)?)?;
        let result = agent.handle(request, observer).await;
        watchdog.let_go(&agent).await;
        result
    }
}

async fn show_events(mut events: mpsc::Receiver<Event>) {
    let mut bars = Bars::new();
    while let Some(event) = events.recv().await {
        bars.show(&event);
    }
    bars.clear();
}

/// The threads that a command runs on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, AgentError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(AgentError::io("start", "threads"))
}

/// Cancelled by SIGINT or SIGTERM. The second one ends the process at once.
pub(super) fn stop_by_signal() -> Result<CancellationToken, AgentError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(AgentError::io("listen for", "signals"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let (stop, asked) = (CancellationToken::new(), CancellationToken::new());
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.is_cancelled() {
                std::process::exit(IMPATIENT);
            }
            asked.cancel();
            token.cancel();
        }
    });
    Ok(stop)
}

//! What is measured, for Prometheus, in OpenMetrics text: on an address of its own, in the
//! clear, so without anything secret in it; off unless it is configured. This module must
//! never change anything.

mod figures;
mod known;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use farshore_figures::{Board, Sheet, Source, write_all, write_counts};
use farshore_vault::{Core, Moment};
use prometheus_client::{
    encoding::DescriptorEncoder,
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        histogram::Histogram,
    },
    registry::Registry,
};
use tokio_util::sync::CancellationToken;

use super::{desk::Desk, papers::Papers, standing::Standing};
use crate::ProgramError;
use figures::Figures;
use known::{HOST, PROTECTION, SITE, SPACE, VAULT};

/// Nouns of the API that are told apart; all others are one.
const NOUNS: [&str; 14] = [
    "alerts",
    "clouds",
    "commands",
    "events",
    "hosts",
    "jobs",
    "machines",
    "mappings",
    "policies",
    "preflight",
    "protections",
    "sites",
    "status",
    "tokens",
];

type Label = (&'static str, String);

/// Buckets for what takes from a millisecond to many seconds.
#[derive(Clone, Debug)]
struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
    }
}

/// What is measured as it happens; clones are the same.
#[derive(Clone)]
pub(crate) struct Meters {
    commits: Histogram,
    stored: Arc<AtomicU64>,
    failed: Counter,
    requests: Family<Vec<Label>, Histogram, Durations>,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            commits: Durations.new_metric(),
            stored: Arc::default(),
            failed: Counter::default(),
            requests: Family::new_with_constructor(Durations),
        }
    }
}

impl Meters {
    /// A transaction took that long.
    pub(crate) fn committed(&self, took: Duration, stored: bool) {
        self.commits.observe(took.as_secs_f64());
        if stored {
            self.stored.fetch_add(1, Ordering::Relaxed);
        } else {
            self.failed.inc();
        }
    }

    /// Transactions that were stored since the vault began to serve.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    fn register(&self, registry: &mut Registry) {
        let help = "Seconds that a transaction of the vault's store took";
        registry.register("store_commit_seconds", help, self.commits.clone());
        let help = "Transactions of the vault's store that failed";
        registry.register("store_commits_failed", help, self.failed.clone());
        let help = "Seconds that a request to the API took, by method, noun and class of its answer";
        registry.register("api_request_seconds", help, self.requests.clone());
    }
}

/// Measures requests to the API, as a layer around its routes.
pub(super) async fn measured(State(meters): State<Meters>, request: Request, next: Next) -> Response {
    let mut parts = request.uri().path().trim_start_matches('/').split('/');
    let is_api = (parts.next(), parts.next()) == (Some("api"), Some("v1"));
    let asked = parts.next().unwrap_or_default();
    let noun = NOUNS.iter().find(|noun| is_api && **noun == asked).copied().unwrap_or("other");
    let method = request.method().to_string();
    let begun = std::time::Instant::now();
    let response = next.run(request).await;
    let status = format!("{}xx", response.status().as_u16() / 100);
    let labels = vec![("method", method), ("noun", noun.to_owned()), ("status", status)];
    meters.requests.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    response
}

impl Sheet for Figures {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        write_all(encoder, VAULT, std::slice::from_ref(&self.vault))?;
        write_all(encoder, SITE, &self.sites)?;
        write_all(encoder, HOST, &self.hosts)?;
        write_all(encoder, SPACE, &self.spaces)?;
        write_all(encoder, PROTECTION, &self.protections)?;
        write_counts(encoder, known::ALERTS, ["level", "code"], &self.alerts)?;
        write_counts(encoder, known::JOBS, ["kind", "state"], &self.jobs)
    }
}

/// Where the text comes from.
struct Shown {
    desk: Desk,
    standing: Standing,
    board: Board<Figures>,
}

#[async_trait]
impl Source for Shown {
    async fn text(&self) -> Option<String> {
        let (uptime_secs, ends) = (self.desk.uptime().as_secs(), self.standing.certificate_ends());
        let look = move |core: &Core, _: &Papers, at: &Moment| Figures::of(core, at, uptime_secs, &ends);
        let figures = self.desk.look(look).await.ok()?;
        self.board.text(figures).ok()
    }
}

/// Listens at `address` and answers until stopped; where it listens.
///
/// # Errors
/// It cannot listen there.
pub(super) async fn serve(
    address: &str,
    desk: &Desk,
    standing: &Standing,
    stop: &CancellationToken,
) -> Result<SocketAddr, ProgramError> {
    let meters = desk.meters();
    let board = Board::new(|registry| meters.register(registry));
    let shown = Shown { desk: desk.clone(), standing: standing.clone(), board };
    farshore_figures::serve(address, Arc::new(shown), stop)
        .await
        .map_err(|error| ProgramError::metrics(address, &error))
}

#[cfg(test)]
mod tests;

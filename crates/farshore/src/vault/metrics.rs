//! What is measured, for Prometheus, in OpenMetrics text: on an address of its own, in the
//! clear, so without anything secret in it; off unless it is configured. This module must
//! never change anything.

mod figures;
mod known;
mod serve;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::{Family, MetricConstructor},
        gauge::ConstGauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use figures::{Figures, Labels};
use known::{Def, HOST, PROTECTION, SITE, VAULT};

pub(super) use serve::serve;

/// What every name begins with.
const PREFIX: &str = "farshore";
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
    failed: Counter,
    requests: Family<Vec<Label>, Histogram, Durations>,
}

impl Default for Meters {
    fn default() -> Meters {
        Meters {
            commits: Durations.new_metric(),
            failed: Counter::default(),
            requests: Family::new_with_constructor(Durations),
        }
    }
}

impl Meters {
    /// A transaction took that long.
    pub(crate) fn committed(&self, took: Duration, stored: bool) {
        self.commits.observe(took.as_secs_f64());
        if !stored {
            self.failed.inc();
        }
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

/// Everything, as one registry: figures are put in before each time it is written.
struct Board {
    registry: Registry,
    figures: Arc<RwLock<Figures>>,
}

impl Board {
    fn new(meters: &Meters) -> Board {
        let figures = Arc::new(RwLock::new(Figures::default()));
        let mut registry = Registry::with_prefix(PREFIX);
        meters.register(&mut registry);
        registry.register_collector(Box::new(Shown(Arc::clone(&figures))));
        Board { registry, figures }
    }

    /// The text for these figures.
    fn text(&self, figures: Figures) -> Result<String, fmt::Error> {
        *self.figures.write().unwrap_or_else(PoisonError::into_inner) = figures;
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Shown(Arc<RwLock<Figures>>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let figures = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all(&mut encoder, VAULT, std::slice::from_ref(&figures.vault))?;
        all(&mut encoder, SITE, &figures.sites)?;
        all(&mut encoder, HOST, &figures.hosts)?;
        all(&mut encoder, PROTECTION, &figures.protections)?;
        let metric =
            encoder.encode_descriptor("host_space_free_bytes", known::SPACE_FREE, None, MetricType::Gauge);
        spaces(metric?, &figures, |space| space.free)?;
        let metric =
            encoder.encode_descriptor("host_space_bytes", known::SPACE_TOTAL, None, MetricType::Gauge);
        spaces(metric?, &figures, |space| space.total)?;
        let mut metric = encoder.encode_descriptor("alerts", known::ALERTS, None, MetricType::Gauge)?;
        for ((level, code), count) in &figures.alerts {
            let labels = [("level", level.as_str()), ("code", code.as_str())];
            ConstGauge::new(to_f64(*count)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn spaces(
    mut metric: prometheus_client::encoding::MetricEncoder<'_>,
    figures: &Figures,
    of: fn(&farshore_control::report::Space) -> u64,
) -> Result<(), fmt::Error> {
    for (host, space) in &figures.spaces {
        let labels = [("host", host.as_str()), ("path", space.path.as_str()), ("use", space.of.as_str())];
        ConstGauge::new(to_f64(of(space))).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn all<T: Labels>(encoder: &mut DescriptorEncoder<'_>, defs: &[Def<T>], of: &[T]) -> Result<(), fmt::Error> {
    for def in defs {
        let kind = if def.counts { MetricType::Counter } else { MetricType::Gauge };
        let mut metric = encoder.encode_descriptor(def.name, def.help, None, kind)?;
        for (one, value) in of.iter().filter_map(|one| Some((one, (def.value)(one)?))) {
            let labels = one.labels();
            let metric = metric.encode_family(&labels)?;
            match def.counts {
                true => ConstCounter::new(value).encode(metric)?,
                false => ConstGauge::new(value).encode(metric)?,
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure on a chart needs no last digits")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;

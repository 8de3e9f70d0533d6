//! Makes the text. This module must never wait for anybody.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::{Def, Labels, to_f64};

/// What every name begins with.
const PREFIX: &str = "farshore";

/// All figures of a program at one instant.
pub trait Sheet: fmt::Debug + Default + Send + Sync + 'static {
    /// Writes them.
    ///
    /// # Errors
    /// What the encoder says.
    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result;
}

/// Everything, as one registry: a sheet is put in before each time it is written.
pub struct Board<S> {
    registry: Registry,
    sheet: Arc<RwLock<S>>,
}

#[derive(Debug)]
struct Shown<S>(Arc<RwLock<S>>);

impl<S: Sheet> Collector for Shown<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.read().unwrap_or_else(PoisonError::into_inner).write(&mut encoder)
    }
}

impl<S: Sheet> Board<S> {
    /// One with what is measured as it happens, besides the sheets.
    #[must_use]
    pub fn new(register: impl FnOnce(&mut Registry)) -> Board<S> {
        let sheet = Arc::new(RwLock::new(S::default()));
        let mut registry = Registry::with_prefix(PREFIX);
        register(&mut registry);
        registry.register_collector(Box::new(Shown(Arc::clone(&sheet))));
        Board { registry, sheet }
    }

    /// The text with this sheet.
    ///
    /// # Errors
    /// What the encoder says.
    pub fn text(&self, sheet: S) -> Result<String, fmt::Error> {
        *self.sheet.write().unwrap_or_else(PoisonError::into_inner) = sheet;
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Writes all figures of all things of a kind.
///
/// # Errors
/// What the encoder says.
pub fn write_all<T: Labels>(encoder: &mut DescriptorEncoder<'_>, defs: &[Def<T>], of: &[T]) -> fmt::Result {
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

/// Writes how many there are of each kind, told apart by two labels.
///
/// # Errors
/// What the encoder says.
pub fn write_counts(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    labels: [&str; 2],
    counts: &BTreeMap<(String, String), u64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for ((first, second), count) in counts {
        let labels = [(labels[0], first.as_str()), (labels[1], second.as_str())];
        ConstGauge::new(to_f64(*count)).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

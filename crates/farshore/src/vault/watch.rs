//! The watch's memory, between the core and the store: samples written behind, and read back
//! at the start. This module must never look into one.

use std::time::Duration;

use farshore_health::{DAY_MS, DAYS_MAX, HOUR_MS, HOURS_MAX};
use farshore_store::{READ_MAX, Retention, Sample, Store, StoreError, Table};
use farshore_vault::{
    Core,
    watch::{DAYS, HOURS, KeptSample},
};

/// Longest time that a sample waits to be written: all that have come by then are one
/// transaction.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(60);

/// How long samples are kept: a little longer than they are looked at.
pub(super) fn retention() -> Vec<Retention> {
    let of = |series: &str, ms: u64| {
        let (table, name) = (Table::Samples, series.to_owned());
        Retention { table, name, keep: Duration::from_millis(ms) }
    };
    vec![of(HOURS, (HOURS_MAX + 1) * HOUR_MS), of(DAYS, (DAYS_MAX + 1) * DAY_MS)]
}

/// Hands samples to the store, which writes them when it is time.
pub(super) fn note(store: &Store, samples: Vec<KeptSample>) {
    for KeptSample { series, subject, at_ms, body } in samples {
        let sample = Sample { series: series.to_owned(), subject, at_ms, body: body.into() };
        if let Err(error) = store.note(sample) {
            tracing::warn!(%error, "a part of the history is not kept");
        }
    }
}

/// Reads back what was kept, in the order of time.
///
/// # Errors
/// What kept the store from it.
pub(super) async fn restore(store: &Store, core: &mut Core, now_ms: u64) -> Result<(), StoreError> {
    for (series, length, most) in [(HOURS, HOUR_MS, HOURS_MAX), (DAYS, DAY_MS, DAYS_MAX)] {
        let newest = now_ms / length;
        for slot in newest.saturating_sub(most)..=newest {
            let (from, to) = (slot * length, (slot + 1) * length);
            let samples = store.samples(series, None, from, to, READ_MAX).await?;
            if samples.len() >= READ_MAX as usize {
                tracing::warn!(series, "more machines than are read at once: some have no history");
            }
            for sample in samples {
                core.restore_sample(series, &sample.subject, &sample.body);
            }
        }
    }
    Ok(())
}

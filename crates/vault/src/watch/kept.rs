//! What is remembered, as samples: now and then a part of the protections, so that a store
//! writes them in one batch; all of it when the vault stops. What a crash costs is the last
//! minutes, and of those the newest point's age tells again.

use farshore_health::{DAY_MS, HOUR_MS, KeptCycles, Slot};
use farshore_types::{MachineId, PointId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Followed;
use crate::{Core, Moment};

/// Series of hours: each instant is when the hour began.
pub const HOURS: &str = "watch.hours";
/// Series of days.
pub const DAYS: &str = "watch.days";

/// Milliseconds in which each protection is kept once.
const KEEP_MS: u64 = 300_000;
/// Milliseconds from one batch to the next.
const BATCH_MS: u64 = 60_000;

/// A sample to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSample {
    /// [`HOURS`] or [`DAYS`].
    pub series: &'static str,
    /// The machine.
    pub subject: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// JSON.
    pub body: Vec<u8>,
}

/// One hour of one protection.
#[derive(Debug, Serialize, Deserialize)]
struct Hour {
    /// Up to when it was watched.
    until_ms: u64,
    #[serde(default)]
    rpo: Option<Slot>,
    cycles: KeptCycles,
    /// The newest point and its instant.
    #[serde(default)]
    newest: Option<(PointId, u64)>,
}

impl Core {
    /// What is to be kept now: a share of it once a minute, or all of it.
    pub fn samples(&mut self, all: bool, at: &Moment) -> Vec<KeptSample> {
        let (Some((begun, _)), now_ms) = (self.watch.begun, self.watch.clock(at)) else { return Vec::new() };
        let batch = at.mono_ms.saturating_sub(begun) / BATCH_MS;
        let mut samples = Vec::new();
        if !all && self.watch.kept_batch.replace(batch) == Some(batch) {
            return samples;
        }
        for (machine, followed) in &mut self.watch.protections {
            // Each has its minute by its id, so that no minute has them all.
            let turn =
                u64::from(machine.0.as_bytes()[15]) % (KEEP_MS / BATCH_MS) == batch % (KEEP_MS / BATCH_MS);
            let since_ms = now_ms.saturating_sub(followed.kept_ms);
            if all || turn || since_ms >= 2 * KEEP_MS {
                followed.keep(*machine, now_ms, &mut samples);
            }
        }
        samples
    }

    /// Takes back what was kept, of each series in the order of time. What cannot be read
    /// is passed over: a history with a gap is better than no vault.
    pub fn restore_sample(&mut self, series: &str, subject: &str, body: &[u8]) {
        let Ok(machine) = subject.parse::<Uuid>() else { return };
        let followed = self.watch.protections.entry(MachineId(machine)).or_default();
        match series {
            HOURS => {
                let Ok(hour) = serde_json::from_slice::<Hour>(body) else { return };
                followed.gap = true;
                (followed.kept_ms, followed.newest) = (hour.until_ms, hour.newest);
                followed.cycles.restore(hour.cycles);
                if let Some(slot) = hour.rpo {
                    followed.rpo.restore_hour(slot, hour.until_ms);
                }
            }
            DAYS => {
                let Ok(slot) = serde_json::from_slice::<Slot>(body) else { return };
                followed.rpo.restore_day(slot);
            }
            _ => {}
        }
    }
}

impl Followed {
    /// Every hour and day that has gone on since it was kept last.
    fn keep(&mut self, machine: MachineId, now_ms: u64, out: &mut Vec<KeptSample>) {
        let subject = machine.to_string();
        let mut push = |series, at_ms, body: Result<Vec<u8>, serde_json::Error>| {
            // These are plain values: there is none that has no JSON.
            let body = body.unwrap_or_default();
            out.push(KeptSample { series, subject: subject.clone(), at_ms, body });
        };
        let kept_ms = std::mem::replace(&mut self.kept_ms, now_ms).min(now_ms);
        for begin_ms in last_two(kept_ms, now_ms, HOUR_MS) {
            let kept = Hour {
                until_ms: now_ms,
                rpo: self.rpo.hour(begin_ms).cloned(),
                cycles: self.cycles.kept(begin_ms),
                newest: self.newest,
            };
            push(HOURS, begin_ms, serde_json::to_vec(&kept));
        }
        for begin_ms in last_two(kept_ms, now_ms, DAY_MS) {
            if let Some(slot) = self.rpo.day(begin_ms) {
                push(DAYS, begin_ms, serde_json::to_vec(slot));
            }
        }
    }
}

/// When the slot began that was gone on with since `kept_ms`, and the one now: nothing is kept
/// so seldom that there are more.
fn last_two(kept_ms: u64, now_ms: u64, length: u64) -> impl Iterator<Item = u64> {
    let newest = now_ms / length;
    (newest.saturating_sub(1).max(kept_ms / length)..=newest).map(move |slot| slot * length)
}

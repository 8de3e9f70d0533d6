//! The recovery point objective as it was: how old the newest point was, weighed by time.
//! Between two reports the age grows with the clock, so a report adds a stretch of ages and
//! not one number: sampled at the reports alone, a sawtooth would always look its best.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Bounds of buckets grow by this factor: a percentile is off by at most as much.
const GROWTH: f64 = 1.25;
/// Upper bound of the first bucket in milliseconds.
const FIRST_MS: f64 = 250.0;
/// Buckets; the last but one ends beyond half a year.
const BUCKETS: usize = 112;
/// Milliseconds that one slot covers.
const SLOT_MS: u64 = 3600 * 1000;
/// Slots kept: a week.
const SLOTS_MAX: usize = 7 * 24;

/// One machine's ages over the last week.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RpoHistory {
    slots: VecDeque<Slot>,
    /// When the last stretch ended.
    until_ms: Option<u64>,
}

/// One hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Slot {
    /// Hours since the clock's beginning.
    hour: u64,
    /// Milliseconds spent at ages of each bucket; only those that are not zero.
    spent: Vec<(u8, u32)>,
    /// Greatest age.
    worst_ms: u64,
}

/// Ages below which the newest point was for a share of the time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the time.
    pub p50_ms: u64,
    /// 95 % of the time.
    pub p95_ms: u64,
    /// 99 % of the time.
    pub p99_ms: u64,
    /// Always.
    pub worst_ms: u64,
    /// Milliseconds that all this is about.
    pub over_ms: u64,
}

impl RpoHistory {
    /// Notes that the newest point is `age_ms` old now. The time since the last note was
    /// spent at the ages that lead up to that.
    ///
    /// `before_ms` is the age that the point before it had reached just before it was
    /// replaced, where a new one has come since the last note; else `None`.
    pub fn note(&mut self, now_ms: u64, age_ms: u64, before_ms: Option<u64>) {
        let since = self.until_ms.replace(now_ms.max(self.until_ms.unwrap_or(0)));
        let span = since.map_or(0, |since| now_ms.saturating_sub(since));
        if span == 0 {
            return;
        }
        match before_ms {
            None => self.spend(now_ms, age_ms.saturating_sub(span), age_ms),
            Some(before) => {
                // It may have been replaced at any time since: the latest is taken, for the
                // worse of what is known must be shown.
                self.spend(now_ms, before.saturating_sub(span), before);
            }
        }
    }

    /// Spends the time from one age to another at the ages between them.
    fn spend(&mut self, now_ms: u64, from_ms: u64, to_ms: u64) {
        let hour = now_ms / SLOT_MS;
        if self.slots.back().is_none_or(|slot| slot.hour < hour) {
            self.slots.push_back(Slot { hour, ..Slot::default() });
        }
        while self.slots.front().is_some_and(|slot| slot.hour + SLOTS_MAX as u64 <= hour) {
            self.slots.pop_front();
        }
        let Some(slot) = self.slots.back_mut() else { return };
        slot.worst_ms = slot.worst_ms.max(to_ms);
        let mut at = from_ms;
        while at < to_ms {
            let bucket = bucket_of(at);
            let end = upper_ms(bucket).min(to_ms).max(at + 1);
            slot.add(bucket, end - at);
            at = end;
        }
    }

    /// Over the last `span_ms` milliseconds, in whole hours; none where nothing is known.
    #[must_use]
    pub fn percentiles(&self, now_ms: u64, span_ms: u64) -> Option<Percentiles> {
        let first = now_ms.saturating_sub(span_ms) / SLOT_MS;
        let slots = || self.slots.iter().filter(|slot| slot.hour >= first);
        let mut spent = [0u64; BUCKETS];
        slots().flat_map(|s| &s.spent).for_each(|(b, ms)| spent[usize::from(*b)] += u64::from(*ms));
        let over_ms: u64 = spent.iter().sum();
        let worst_ms = slots().map(|slot| slot.worst_ms).max()?;
        let below = |per_mille: u64| {
            let (wanted, mut so_far) = ((over_ms * per_mille).div_ceil(1000), 0);
            let found = spent.iter().position(|ms| {
                so_far += ms;
                so_far >= wanted
            });
            found.map_or(worst_ms, upper_ms).min(worst_ms)
        };
        (over_ms > 0).then(|| Percentiles {
            p50_ms: below(500),
            p95_ms: below(950),
            p99_ms: below(990),
            worst_ms,
            over_ms,
        })
    }
}

impl Slot {
    fn add(&mut self, bucket: usize, ms: u64) {
        let ms = u32::try_from(ms).unwrap_or(u32::MAX);
        let bucket = u8::try_from(bucket).unwrap_or(u8::MAX);
        match self.spent.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => self.spent[at].1 = self.spent[at].1.saturating_add(ms),
            Err(at) => self.spent.insert(at, (bucket, ms)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by BUCKETS")]
fn bucket_of(age_ms: u64) -> usize {
    #[expect(clippy::cast_precision_loss, reason = "an age that long needs no last digits")]
    let steps = (age_ms as f64 / FIRST_MS).log(GROWTH).floor() + 1.0;
    (steps.max(0.0) as usize).min(BUCKETS - 1)
}

/// First age in milliseconds that is no more of the bucket.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within u64")]
fn upper_ms(bucket: usize) -> u64 {
    match i32::try_from(bucket) {
        Ok(bucket) if (bucket as usize) < BUCKETS - 1 => (FIRST_MS * GROWTH.powi(bucket)).ceil() as u64,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sawtooth_is_shown_as_it_was_and_not_as_at_its_reports() {
        let mut history = RpoHistory::default();
        // A point every 10 s, 500 ms old when it comes; a report right after each.
        history.note(0, 500, None);
        for n in 1..=360u64 {
            history.note(n * 10_000, 500, Some(10_500));
        }
        let told = history.percentiles(3_600_000, 3_600_000).unwrap();
        assert_eq!((told.over_ms, told.worst_ms), (3_600_000, 10_500));
        assert!((5_000..7_500).contains(&told.p50_ms), "{told:?}");
        assert!((9_500..=10_500).contains(&told.p95_ms), "{told:?}");
    }

    #[test]
    fn silence_lets_it_grow_and_a_week_is_remembered() {
        let mut history = RpoHistory::default();
        history.note(0, 1000, None);
        history.note(3 * SLOT_MS, 1000 + 3 * SLOT_MS, None);
        assert_eq!(history.percentiles(3 * SLOT_MS, SLOT_MS).unwrap().worst_ms, 1000 + 3 * SLOT_MS);
        for hour in 4..400u64 {
            history.note(hour * SLOT_MS, 2000, Some(3000));
        }
        assert_eq!(history.slots.len(), SLOTS_MAX);
        assert_eq!(history.percentiles(400 * SLOT_MS, u64::MAX).unwrap().worst_ms, 3000);
        assert_eq!(RpoHistory::default().percentiles(0, 1), None);
    }

    proptest! {
        #[test]
        fn percentiles_are_in_order_and_no_clock_that_stands_or_steps_back_harms(
            notes in prop::collection::vec((0u64..100_000_000, 0u64..10_000_000, prop::option::of(0u64..10_000_000)), 1..200),
        ) {
            let mut history = RpoHistory::default();
            for (now, age, before) in &notes {
                history.note(*now, *age, *before);
            }
            let last = notes.iter().map(|n| n.0).max().unwrap();
            if let Some(told) = history.percentiles(last, u64::MAX) {
                prop_assert!(told.p50_ms <= told.p95_ms && told.p95_ms <= told.p99_ms);
                prop_assert!(told.p99_ms <= told.worst_ms);
            }
            let text = serde_json::to_string(&history).unwrap();
            prop_assert_eq!(serde_json::from_str::<RpoHistory>(&text).unwrap(), history);
        }

        #[test]
        fn a_bucket_holds_what_is_put_into_it(age in 0u64..10_000_000_000) {
            let bucket = bucket_of(age);
            prop_assert!(age <= upper_ms(bucket), "{age} is beyond bucket {bucket}");
            prop_assert!(bucket == 0 || age + 1 >= upper_ms(bucket - 1), "{age} is before bucket {bucket}");
        }
    }
}

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
/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3600 * 1000;
/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * HOUR_MS;
/// Hours kept one by one: a day and the one that has begun.
pub const HOURS_MAX: u64 = 25;
/// Days kept: a week and the one that has begun.
pub const DAYS_MAX: u64 = 8;

/// One machine's ages over the last week: the last day by hours, the days before as wholes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RpoHistory {
    hours: VecDeque<Slot>,
    days: VecDeque<Slot>,
    /// When the last stretch ended.
    until_ms: Option<u64>,
}

/// One hour or one day, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// When it began, in milliseconds.
    pub begin_ms: u64,
    /// Milliseconds spent at ages of each bucket; only those that are not zero.
    spent: Vec<(u8, u32)>,
    /// Greatest age.
    worst_ms: u64,
}

/// That a newer point has taken the place of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// How old the point before it had become by then, in milliseconds.
    pub peak_ms: u64,
    /// How many milliseconds ago that was; 0 where it is not known, for the worse of what
    /// is known must be shown.
    pub since_ms: u64,
}

/// Ages below which the newest point was for a share of the time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
    /// Notes that the newest point is `age_ms` old now, and whether it has replaced another
    /// since the last note. The time since the last note was spent at the ages that lead up
    /// to that.
    pub fn note(&mut self, now_ms: u64, age_ms: u64, before: Option<Replaced>) {
        let since = self.until_ms.replace(now_ms.max(self.until_ms.unwrap_or(0)));
        let span = since.map_or(0, |since| now_ms.saturating_sub(since));
        if span == 0 {
            return;
        }
        match before {
            None => self.spend(now_ms, age_ms.saturating_sub(span), age_ms),
            Some(Replaced { peak_ms, since_ms }) => {
                let after = since_ms.min(span);
                self.spend(now_ms, peak_ms.saturating_sub(span - after), peak_ms);
                self.spend(now_ms, age_ms.saturating_sub(after), age_ms);
            }
        }
    }

    /// After a time in which nobody watched: of that, what the newest point's age tells
    /// counts, and of the rest nothing is known.
    pub fn resume(&mut self, now_ms: u64, age_ms: u64) {
        let watched = self.until_ms.unwrap_or(now_ms).max(now_ms.saturating_sub(age_ms));
        self.until_ms = Some(watched);
        self.note(now_ms, age_ms, None);
    }

    /// The hour that began then, to be kept.
    #[must_use]
    pub fn hour(&self, begin_ms: u64) -> Option<&Slot> {
        self.hours.iter().rev().find(|slot| slot.begin_ms == begin_ms)
    }

    /// The day that began then, to be kept.
    #[must_use]
    pub fn day(&self, begin_ms: u64) -> Option<&Slot> {
        self.days.iter().rev().find(|slot| slot.begin_ms == begin_ms)
    }

    /// Takes back an hour that was kept; in the order of time. `until_ms`: up to when it was
    /// watched.
    pub fn restore_hour(&mut self, slot: Slot, until_ms: u64) {
        self.until_ms = self.until_ms.max(Some(until_ms));
        self.hours.push_back(slot);
    }

    /// Takes back a day that was kept; in the order of time.
    pub fn restore_day(&mut self, slot: Slot) {
        self.days.push_back(slot);
    }

    /// Spends the time from one age to another at the ages between them.
    fn spend(&mut self, now_ms: u64, from_ms: u64, to_ms: u64) {
        for (slots, length, most) in
            [(&mut self.hours, HOUR_MS, HOURS_MAX), (&mut self.days, DAY_MS, DAYS_MAX)]
        {
            let begin_ms = now_ms / length * length;
            if slots.back().is_none_or(|slot| slot.begin_ms < begin_ms) {
                slots.push_back(Slot { begin_ms, ..Slot::default() });
            }
            while slots.front().is_some_and(|slot| slot.begin_ms + most * length <= begin_ms) {
                slots.pop_front();
            }
            if let Some(slot) = slots.back_mut() {
                slot.spend(from_ms, to_ms);
            }
        }
    }

    /// Over the last `span_ms` milliseconds, in whole hours up to a day, and in whole days
    /// beyond; none where nothing is known.
    #[must_use]
    pub fn percentiles(&self, now_ms: u64, span_ms: u64) -> Option<Percentiles> {
        let (kept, length) = if span_ms <= DAY_MS { (&self.hours, HOUR_MS) } else { (&self.days, DAY_MS) };
        let first = now_ms.saturating_sub(span_ms) / length * length;
        let slots = || kept.iter().filter(|slot| slot.begin_ms >= first);
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
    fn spend(&mut self, from_ms: u64, to_ms: u64) {
        self.worst_ms = self.worst_ms.max(to_ms);
        let mut at = from_ms;
        while at < to_ms {
            let bucket = bucket_of(at);
            let end = upper_ms(bucket).min(to_ms).max(at + 1);
            self.add(bucket, end - at);
            at = end;
        }
    }

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
            history.note(n * 10_000, 500, Some(Replaced { peak_ms: 10_500, since_ms: 0 }));
        }
        let told = history.percentiles(3_600_000, 3_600_000).unwrap();
        assert_eq!((told.over_ms, told.worst_ms), (3_600_000, 10_500));
        assert!((5_000..7_500).contains(&told.p50_ms), "{told:?}");
        assert!((9_500..=10_500).contains(&told.p95_ms), "{told:?}");
    }

    #[test]
    fn what_is_seen_between_two_reports_is_split_where_the_point_came() {
        // A point every 30 s, 2 s old when it comes; looked at every 10 s.
        let mut history = RpoHistory::default();
        for at in (2..3600u64).step_by(10) {
            let (age, came) = ((at - 2) % 30 + 2, (at - 2) % 30 < 10 && at > 30);
            let before = came.then(|| Replaced { peak_ms: 32_000, since_ms: (age - 2) * 1000 });
            history.note(at * 1000, age * 1000, before);
        }
        let told = history.percentiles(3_500_000, HOUR_MS).unwrap();
        assert_eq!(told.worst_ms, 32_000, "never worse than it was, either");
        assert!((15_000..22_000).contains(&told.p50_ms), "{told:?}");
    }

    #[test]
    fn silence_lets_it_grow_and_a_week_is_remembered() {
        let mut history = RpoHistory::default();
        history.note(0, 1000, None);
        history.note(3 * HOUR_MS, 1000 + 3 * HOUR_MS, None);
        assert_eq!(history.percentiles(3 * HOUR_MS, HOUR_MS).unwrap().worst_ms, 1000 + 3 * HOUR_MS);
        for hour in 4..400u64 {
            let before = Some(Replaced { peak_ms: 3000, since_ms: 0 });
            history.note(hour * HOUR_MS, 2000, before);
        }
        assert_eq!((history.hours.len() as u64, history.days.len() as u64), (HOURS_MAX, DAYS_MAX));
        assert_eq!(history.percentiles(400 * HOUR_MS, u64::MAX).unwrap().worst_ms, 3000);
        assert_eq!(RpoHistory::default().percentiles(0, 1), None);
    }

    #[test]
    fn what_was_kept_goes_on_and_a_gap_counts_as_far_as_the_newest_point_tells() {
        let mut history = RpoHistory::default();
        history.note(HOUR_MS, 1000, None);
        history.note(HOUR_MS + 60_000, 61_000, None);
        let (hour, day) = (history.hour(HOUR_MS).cloned().unwrap(), history.day(0).cloned().unwrap());
        let mut again = RpoHistory::default();
        again.restore_hour(hour, HOUR_MS + 60_000);
        again.restore_day(day);
        assert_eq!(again, history);
        // Nobody watched for ten minutes; the newest point is two minutes old.
        again.resume(HOUR_MS + 660_000, 120_000);
        let told = again.percentiles(HOUR_MS + 660_000, HOUR_MS).unwrap();
        assert_eq!((told.over_ms, told.worst_ms), (180_000, 120_000));
        // It is older than the gap: all of that is known.
        history.resume(HOUR_MS + 660_000, 661_000);
        assert_eq!(history.percentiles(HOUR_MS + 660_000, HOUR_MS).unwrap().over_ms, 660_000);
    }

    proptest! {
        #[test]
        fn percentiles_are_in_order_and_no_clock_that_stands_or_steps_back_harms(
            notes in prop::collection::vec((0u64..100_000_000, 0u64..10_000_000, prop::option::of(0u64..10_000_000)), 1..200),
        ) {
            let mut history = RpoHistory::default();
            for (now, age, before) in &notes {
                let before = before.map(|peak_ms| Replaced { peak_ms, since_ms: peak_ms / 3 });
                history.note(*now, *age, before);
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

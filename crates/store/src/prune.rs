//! Deletes events and samples that are older than they are kept: a bounded number at a
//! time, so that commits never wait for long. Age counts from the newest one or from now,
//! whichever is earlier: a clock that jumps ahead deletes nothing.

use std::time::Duration;

use crate::{
    apply::{self, Failure, Fence},
    head::unsigned,
    link::{Link, Value},
    options::{Retention, Table},
    record::Version,
};

/// Most rows deleted in one transaction.
pub(crate) const PRUNE_ROWS: u64 = 2_000;

/// Deletes the oldest of what a rule lets go; says how many. Fewer than [`PRUNE_ROWS`]: that
/// was all.
pub(crate) async fn step(
    link: &mut Link,
    fence: Fence,
    newest: Version,
    rule: &Retention,
    now_ms: u64,
) -> Result<u64, Failure> {
    let name = Value::Text(&rule.name);
    let (latest,): (Option<i64>,) = link.one(newest_sql(rule.table), &[name]).await?;
    let Some(latest) = latest else { return Ok(0) };
    let before_ms = cutoff_ms(unsigned(latest), now_ms, rule.keep);
    link.begin().await?;
    apply::claim(link, fence, newest, newest).await?;
    let gone = link.execute(delete_sql(rule.table), &[name, before_ms.into(), PRUNE_ROWS.into()]).await?;
    link.commit().await.map_err(Failure::Commit)?;
    Ok(gone)
}

/// What is older than this goes.
fn cutoff_ms(latest_ms: u64, now_ms: u64, keep: Duration) -> u64 {
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    latest_ms.min(now_ms).saturating_sub(keep_ms)
}

fn newest_sql(table: Table) -> &'static str {
    match table {
        Table::Events => "SELECT max(at_ms) FROM store_events WHERE topic = $1",
        Table::Samples => "SELECT max(at_ms) FROM store_samples WHERE series = $1",
    }
}

fn delete_sql(table: Table) -> &'static str {
    match table {
        Table::Events => {
            "DELETE FROM store_events WHERE (version, ordinal) IN \
             (SELECT version, ordinal FROM store_events WHERE topic = $1 AND at_ms < $2 \
              ORDER BY at_ms LIMIT $3)"
        }
        Table::Samples => {
            "DELETE FROM store_samples WHERE (series, subject, at_ms) IN \
             (SELECT series, subject, at_ms FROM store_samples WHERE series = $1 AND at_ms < $2 \
              ORDER BY at_ms LIMIT $3)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_deletes_nothing() {
        let day = Duration::from_secs(86_400);
        assert_eq!(cutoff_ms(100_000_000, 100_000_500, day), 100_000_000 - 86_400_000);
        assert_eq!(cutoff_ms(100_000_000, u64::MAX, day), 100_000_000 - 86_400_000);
        assert_eq!(cutoff_ms(u64::MAX, 100_000_000, day), 100_000_000 - 86_400_000);
        assert_eq!(cutoff_ms(5, 5, day), 0);
    }
}

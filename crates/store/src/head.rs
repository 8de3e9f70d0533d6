//! The one row that says what the whole store is: its name, its newest transaction, and who
//! may write.

use crate::{
    bug::Bug,
    link::Link,
    options::Options,
    record::{Learn, LearnReason, Version},
};

/// The row as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Made up at random when the store was made; tells two databases apart.
    pub(crate) id: String,
    pub(crate) newest: Version,
    pub(crate) fence: u64,
    pub(crate) holder: String,
    pub(crate) learn: Option<Learn>,
    pub(crate) timeline: String,
}

type HeadAnswer = (String, i64, i64, String, i64, i64, i64, String);

const READ: &str = "SELECT id, sequence, fence, holder, learn, learn_term, learn_as_of_ms, timeline \
                    FROM store_head";

/// The reasons as they are stored.
const RESTORED: i64 = 1;
const FAILED_OVER: i64 = 2;

pub(crate) async fn read(link: &mut Link) -> Result<Head, sqlx::Error> {
    let (id, sequence, fence, holder, learn, term, as_of_ms, timeline): HeadAnswer =
        link.one(READ, &[]).await?;
    let reason = match learn {
        RESTORED => Some(LearnReason::Restored),
        FAILED_OVER => Some(LearnReason::DatabaseFailedOver),
        _ => None,
    };
    let learn = reason.map(|reason| Learn { reason, term: unsigned(term), as_of_ms: unsigned(as_of_ms) });
    Ok(Head { id, newest: Version(unsigned(sequence)), fence: unsigned(fence), holder, learn, timeline })
}

/// Reads it when nobody is in the middle of writing: a commit that broke off may still be
/// under way in the server, and has the row until it is decided.
pub(crate) async fn read_settled(link: &mut Link, options: &Options) -> Result<Head, sqlx::Error> {
    if options.is(Bug::BelieveFirstLook) {
        return read(link).await;
    }
    link.begin().await?;
    link.execute("UPDATE store_head SET holder = holder", &[]).await?;
    let head = read(link).await?;
    // The wait for the row is all that was wanted.
    link.rollback().await?;
    Ok(head)
}

/// Becomes the one who may write: from here on every transaction of the one before fails.
/// Where the server's history forked since the last time, the vault has to learn.
pub(crate) async fn take_over(link: &mut Link, holder: &str, timeline: &str) -> Result<Head, sqlx::Error> {
    link.begin().await?;
    link.execute("UPDATE store_head SET fence = fence + 1, holder = $1", &[holder.into()]).await?;
    let head = read(link).await?;
    let told = !head.timeline.is_empty() && !timeline.is_empty();
    if told && head.timeline != timeline && head.learn.is_none() {
        let learn = Learn { reason: LearnReason::DatabaseFailedOver, term: 0, as_of_ms: 0 };
        mark(link, Some(learn)).await?;
    }
    link.execute("UPDATE store_head SET timeline = $1", &[timeline.into()]).await?;
    let head = read(link).await?;
    link.commit().await?;
    Ok(head)
}

/// Sets or takes away the mark that the vault has to learn.
pub(crate) async fn mark(link: &mut Link, learn: Option<Learn>) -> Result<(), sqlx::Error> {
    let reason = match learn.map(|learn| learn.reason) {
        Some(LearnReason::Restored) => RESTORED,
        Some(LearnReason::DatabaseFailedOver) => FAILED_OVER,
        None => 0,
    };
    let (term, as_of_ms) = learn.map_or((0, 0), |learn| (learn.term, learn.as_of_ms));
    let sql = "UPDATE store_head SET learn = $1, learn_term = $2, learn_as_of_ms = $3";
    link.execute(sql, &[crate::link::Value::Int(reason), term.into(), as_of_ms.into()]).await.map(drop)
}

/// What the database counts, back from its signed integers.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

//! Writes a plan and samples in one transaction of the database. What is in the plan was
//! decided before; here every statement asks once more whether it hits what it is meant to.

use crate::{
    batch::{Op, Plan},
    changes::NewEvent,
    head,
    link::{Link, Value},
    load::sum_of,
    record::{RowId, Sample, Version},
};

/// Most samples in one transaction, so that one with a backlog does not hold up commits.
pub(crate) const SAMPLES_PER_GROUP: usize = 4_096;
/// Samples in one statement; few sizes, because each is prepared once.
const SAMPLE_CHUNKS: [usize; 3] = [128, 16, 1];

/// Why nothing is known to have been written.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A statement before the commit failed: nothing was written.
    Statement(sqlx::Error),
    /// The commit itself failed: it may have been written.
    Commit(sqlx::Error),
    /// Another process has the store now.
    Fenced { by: String },
    /// The database is at another transaction than this process left it at.
    Elsewhere { found: Version },
    /// A row is not as this process left it.
    Diverged(RowId),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Failure::Statement(error)
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence {
    /// The number of this process.
    pub(crate) number: u64,
    /// Whether it is asked for at all: a deliberate bug does not.
    pub(crate) asked: bool,
}

/// All or nothing, and durable when it returns.
pub(crate) async fn write(
    link: &mut Link,
    fence: Fence,
    plan: &Plan,
    samples: &[Sample],
) -> Result<(), Failure> {
    link.begin().await?;
    claim(link, fence, plan.before, plan.after).await?;
    for op in &plan.ops {
        apply(link, op).await?;
    }
    if plan.learned {
        head::mark(link, None).await?;
    }
    write_samples(link, samples).await?;
    link.commit().await.map_err(Failure::Commit)
}

/// Moves the head on, which only works for the one who may write; until the commit nobody
/// else can take over.
pub(crate) async fn claim(
    link: &mut Link,
    fence: Fence,
    before: Version,
    after: Version,
) -> Result<(), Failure> {
    if !fence.asked {
        link.execute("UPDATE store_head SET sequence = $1", &[after.0.into()]).await?;
        return Ok(());
    }
    let sql = "UPDATE store_head SET sequence = $1 WHERE fence = $2 AND sequence = $3";
    let values = [after.0.into(), fence.number.into(), before.0.into()];
    if link.execute(sql, &values).await? == 1 {
        return Ok(());
    }
    let head = head::read(link).await?;
    if head.fence == fence.number {
        return Err(Failure::Elsewhere { found: head.newest });
    }
    Err(Failure::Fenced { by: head.holder })
}

async fn apply(link: &mut Link, op: &Op) -> Result<(), Failure> {
    let (hit, id) = match op {
        Op::Insert { id, new, body } => (insert(link, id, *new, body).await?, id),
        Op::Update { id, old, new, body } => (update(link, id, *old, *new, body).await?, id),
        Op::Delete { id, old } => {
            let sql = "DELETE FROM store_rows WHERE kind = $1 AND key = $2 AND version = $3";
            (link.execute(sql, &[id.kind.as_str().into(), id.key.as_str().into(), old.0.into()]).await?, id)
        }
        Op::Event { version, ordinal, event } => {
            return Ok(insert_event(link, *version, *ordinal, event).await?);
        }
    };
    if hit == 1 { Ok(()) } else { Err(Failure::Diverged(id.clone())) }
}

pub(crate) async fn insert_event(
    link: &mut Link,
    version: Version,
    ordinal: u32,
    event: &NewEvent,
) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO store_events (version, ordinal, topic, subject, at_ms, body) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = [
        version.0.into(),
        Value::Int(i64::from(ordinal)),
        event.topic.as_str().into(),
        event.subject.as_str().into(),
        event.at_ms.into(),
        event.body.as_ref().into(),
    ];
    link.execute(sql, &values).await.map(drop)
}

async fn insert(link: &mut Link, id: &RowId, new: Version, body: &[u8]) -> Result<u64, sqlx::Error> {
    let sql = "INSERT INTO store_rows (kind, key, version, body, sum) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (kind, key) DO NOTHING";
    let sum = Value::Int(sum_of(id, new, body));
    link.execute(sql, &[id.kind.as_str().into(), id.key.as_str().into(), new.0.into(), body.into(), sum])
        .await
}

async fn update(
    link: &mut Link,
    id: &RowId,
    old: Version,
    new: Version,
    body: &[u8],
) -> Result<u64, sqlx::Error> {
    let sql = "UPDATE store_rows SET version = $3, body = $4, sum = $5 \
               WHERE kind = $1 AND key = $2 AND version = $6";
    let sum = Value::Int(sum_of(id, new, body));
    let values =
        [id.kind.as_str().into(), id.key.as_str().into(), new.0.into(), body.into(), sum, old.0.into()];
    link.execute(sql, &values).await
}

/// Writes samples, several in a statement; no two of them may have one place.
pub(crate) async fn write_samples(link: &mut Link, samples: &[Sample]) -> Result<(), sqlx::Error> {
    let mut rest = samples;
    while !rest.is_empty() {
        let size = SAMPLE_CHUNKS.into_iter().find(|size| *size <= rest.len()).unwrap_or(1);
        let (chunk, after) = rest.split_at(size);
        let values: Vec<Value<'_>> = chunk.iter().flat_map(sample_values).collect();
        link.execute(samples_sql(size), &values).await?;
        rest = after;
    }
    Ok(())
}

fn sample_values(sample: &Sample) -> [Value<'_>; 4] {
    [
        sample.series.as_str().into(),
        sample.subject.as_str().into(),
        sample.at_ms.into(),
        sample.body.as_ref().into(),
    ]
}

fn samples_sql(count: usize) -> String {
    let groups: Vec<String> = (0..count)
        .map(|at| format!("(${}, ${}, ${}, ${})", at * 4 + 1, at * 4 + 2, at * 4 + 3, at * 4 + 4))
        .collect();
    format!(
        "INSERT INTO store_samples (series, subject, at_ms, body) VALUES {} \
         ON CONFLICT (series, subject, at_ms) DO UPDATE SET body = excluded.body",
        groups.join(", ")
    )
}

//! Reads events and samples beside the writer, on a connection of their own. Rows are not
//! read here: they are loaded once, and their owner has them in memory.

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::{
    StoreError,
    changes::INSTANT_MAX_MS,
    fault,
    head::unsigned,
    link::{Link, Purpose, Value},
    location::Location,
    options::Options,
    record::{Event, EventId, Sample, Version},
};

/// Most events or samples in one answer.
pub const READ_MAX: u32 = 10_000;

/// Which events, in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Only of this topic.
    pub topic: Option<String>,
    /// Only about this.
    pub subject: Option<String>,
    /// From where.
    pub from: From,
    /// At most so many, up to [`READ_MAX`].
    pub limit: u32,
}

/// From where events are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// The newest first.
    #[default]
    Newest,
    /// Those before this one, the newest first.
    Before(EventId),
    /// Those after this one, in the order in which they happened.
    After(EventId),
}

type EventAnswer = (i64, i64, String, String, i64, Vec<u8>);
type SampleAnswer = (String, i64, Vec<u8>);

pub(crate) struct Reader {
    location: Location,
    options: Options,
    link: Mutex<Option<Link>>,
}

impl Reader {
    pub(crate) fn new(location: Location, options: Options) -> Reader {
        Reader { location, options, link: Mutex::new(None) }
    }

    pub(crate) async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, StoreError> {
        let sql = events_sql(query);
        let start = match query.from {
            From::Newest => EventId { version: Version(INSTANT_MAX_MS), ordinal: u32::MAX },
            From::Before(id) | From::After(id) => id,
        };
        let limit = u64::from(query.limit.min(READ_MAX));
        let mut values = vec![start.version.0.into(), u64::from(start.ordinal).into(), limit.into()];
        values.extend(query.topic.as_deref().map(Value::Text));
        values.extend(query.subject.as_deref().map(Value::Text));
        let answers: Vec<EventAnswer> = self.ask("read events", &sql, &values).await?;
        Ok(answers.into_iter().map(event_of).collect())
    }

    /// Samples of a series from an instant on and before another, by subject and instant;
    /// of one subject, or of all.
    pub(crate) async fn samples(
        &self,
        series: &str,
        subject: Option<&str>,
        from_ms: u64,
        to_ms: u64,
        limit: u32,
    ) -> Result<Vec<Sample>, StoreError> {
        let filter = if subject.is_some() { " AND subject = $5" } else { "" };
        let sql = format!(
            "SELECT subject, at_ms, body FROM store_samples \
             WHERE series = $1 AND at_ms >= $2 AND at_ms < $3{filter} ORDER BY subject, at_ms LIMIT $4"
        );
        let limit = u64::from(limit.min(READ_MAX));
        let mut values = vec![series.into(), from_ms.into(), to_ms.into(), limit.into()];
        values.extend(subject.map(Value::Text));
        let answers: Vec<SampleAnswer> = self.ask("read samples", &sql, &values).await?;
        let sample = |(subject, at_ms, body): SampleAnswer| Sample {
            series: series.to_owned(),
            subject,
            at_ms: unsigned(at_ms),
            body: Bytes::from(body),
        };
        Ok(answers.into_iter().map(sample).collect())
    }

    /// Asks; a connection that was lost since the last time is made anew once.
    async fn ask<T: crate::link::Answer>(
        &self,
        what: &'static str,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, StoreError> {
        let mut kept = self.link.lock().await;
        if let Some(mut link) = kept.take() {
            match link.all(sql.to_owned(), values).await {
                Ok(answers) => {
                    *kept = Some(link);
                    return Ok(answers);
                }
                Err(error) if fault::class(&error) == fault::Class::Lost => {}
                Err(error) => return Err(fault::working(&self.location, what, error)),
            }
        }
        let mut link = Link::open(&self.location, Purpose::Read, &self.options).await?;
        let answers = link.all(sql.to_owned(), values).await;
        let answers = answers.map_err(|error| fault::opening(&self.location, what, error))?;
        *kept = Some(link);
        Ok(answers)
    }

    pub(crate) async fn close(&self) {
        let link = self.link.lock().await.take();
        if let Some(link) = link {
            link.close().await;
        }
    }
}

fn events_sql(query: &EventQuery) -> String {
    let (compare, order) = match query.from {
        From::After(_) => (">", "version, ordinal"),
        From::Newest | From::Before(_) => ("<", "version DESC, ordinal DESC"),
    };
    let columns = [query.topic.as_ref().map(|_| "topic"), query.subject.as_ref().map(|_| "subject")];
    let filters = columns.into_iter().flatten().zip(4..);
    let filters: Vec<String> = filters.map(|(column, at)| format!(" AND {column} = ${at}")).collect();
    let filters = filters.concat();
    format!(
        "SELECT version, ordinal, topic, subject, at_ms, body FROM store_events \
         WHERE (version, ordinal) {compare} ($1, $2){filters} ORDER BY {order} LIMIT $3"
    )
}

fn event_of((version, ordinal, topic, subject, at_ms, body): EventAnswer) -> Event {
    let ordinal = u32::try_from(ordinal).unwrap_or_default();
    let id = EventId { version: Version(unsigned(version)), ordinal };
    Event { id, topic, subject, at_ms: unsigned(at_ms), body: Bytes::from(body) }
}

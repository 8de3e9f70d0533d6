//! One connection to either database, behind one set of calls: everything above writes its
//! SQL once. This module must never know what is asked, and when.

mod postgres;
mod sqlite;

use std::{future::Future, io, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection, FromRow, PgConnection, SqliteConnection,
    postgres::{PgConnectOptions, PgRow},
    sqlite::SqliteRow,
};

use crate::{StoreError, location::Location, options::Options};

pub(crate) use postgres::{lock_session, prepare as prepare_postgres, try_lock};
pub(crate) use sqlite::{fold_log, make_file};

/// Longest time that one statement may take; after it the connection counts as lost. Nothing
/// here reads or writes more than some tens of MB in one.
pub(crate) const STATEMENT_MAX: Duration = Duration::from_secs(30);
/// Longest time for making a connection.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection.
pub(crate) enum Link {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Write,
    Read,
}

/// A value in a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        // Instants are checked before; counters never get so far.
        Value::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Value::Bytes(value)
    }
}

/// A row of an answer as a tuple, from either database.
pub(crate) trait Answer:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}
impl<T> Answer for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// SQL that this crate wrote: never made of what a caller gave.
pub(crate) trait Sql: AsRef<str> + Send {}
impl Sql for &'static str {}
impl Sql for String {}

macro_rules! bound {
    ($query:expr, $values:expr) => {{
        let mut query = $query;
        for value in $values {
            query = match *value {
                Value::Int(int) => query.bind(int),
                Value::Text(text) => query.bind(text),
                Value::Bytes(bytes) => query.bind(bytes),
            };
        }
        query
    }};
}

impl Link {
    /// Connects; the database is not looked at.
    pub(crate) async fn open(
        location: &Location,
        purpose: Purpose,
        options: &Options,
    ) -> Result<Link, StoreError> {
        match location {
            Location::Sqlite(path) => sqlite::open(location, path, purpose, options).await,
            Location::Postgres(postgres) => {
                Ok(Link::Postgres(Box::new(postgres::open(location, &postgres.options).await?)))
            }
        }
    }

    /// How many heads there are (0 or 1), and how many tables of anybody that forbid to
    /// make one.
    pub(crate) fn catalogue(&self) -> &'static str {
        match self {
            Link::Sqlite(_) => sqlite::CATALOGUE,
            Link::Postgres(_) => postgres::CATALOGUE,
        }
    }

    /// Runs one statement; says how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: impl Sql, values: &[Value<'_>]) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.as_ref());
        match self {
            Link::Sqlite(link) => {
                Ok(in_time(bound!(sqlx::query(sql), values).execute(&mut **link)).await?.rows_affected())
            }
            Link::Postgres(link) => {
                Ok(in_time(bound!(sqlx::query(sql), values).execute(&mut **link)).await?.rows_affected())
            }
        }
    }

    /// Asks for all rows.
    pub(crate) async fn all<T: Answer>(
        &mut self,
        sql: impl Sql,
        values: &[Value<'_>],
    ) -> Result<Vec<T>, sqlx::Error> {
        let sql = AssertSqlSafe(sql.as_ref());
        match self {
            Link::Sqlite(link) => in_time(bound!(sqlx::query_as(sql), values).fetch_all(&mut **link)).await,
            Link::Postgres(link) => in_time(bound!(sqlx::query_as(sql), values).fetch_all(&mut **link)).await,
        }
    }

    /// Asks for one row that must be there.
    pub(crate) async fn one<T: Answer>(
        &mut self,
        sql: impl Sql,
        values: &[Value<'_>],
    ) -> Result<T, sqlx::Error> {
        self.all(sql, values).await?.pop().ok_or(sqlx::Error::RowNotFound)
    }

    /// Runs several statements without values.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Link::Sqlite(link) => in_time(sqlx::raw_sql(text).execute(&mut **link)).await.map(drop),
            Link::Postgres(link) => in_time(sqlx::raw_sql(text).execute(&mut **link)).await.map(drop),
        }
    }

    /// Begins a transaction that writes: SQLite must take its lock at once, or it may find
    /// itself unable to later.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.script(match self {
            Link::Sqlite(_) => "BEGIN IMMEDIATE",
            Link::Postgres(_) => "BEGIN",
        })
        .await
    }

    /// Begins a transaction that sees one instant of everything, for as long as it takes.
    pub(crate) async fn begin_snapshot(&mut self) -> Result<(), sqlx::Error> {
        self.script(match self {
            Link::Sqlite(_) => "BEGIN",
            Link::Postgres(_) => {
                "SET idle_in_transaction_session_timeout = 0; \
                 BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            }
        })
        .await
    }

    /// Empties the tables, however much is in them: each database has its own way that does
    /// not go row by row.
    pub(crate) async fn clear(&mut self) -> Result<(), sqlx::Error> {
        self.script(match self {
            Link::Sqlite(_) => "DELETE FROM store_rows; DELETE FROM store_events; DELETE FROM store_samples",
            Link::Postgres(_) => "TRUNCATE store_rows, store_events, store_samples",
        })
        .await
    }

    /// Makes the transaction durable.
    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.script("COMMIT").await
    }

    /// Gives the transaction up.
    pub(crate) async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        match self.script("ROLLBACK").await {
            // SQLite has given it up already, as it does where the disk is full.
            Err(error) if matches!(self, Link::Sqlite(_)) && is_code(&error, "1") => Ok(()),
            done => done,
        }
    }

    /// Says good-bye.
    pub(crate) async fn close(self) {
        let closed = match self {
            Link::Sqlite(link) => in_time(link.close()).await,
            Link::Postgres(link) => in_time(link.close()).await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "a connection was not closed in order");
        }
    }
}

fn is_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|found| found == code)
}

/// A statement that takes too long is a lost connection.
async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(STATEMENT_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(late(STATEMENT_MAX)),
    }
}

fn late(after: Duration) -> sqlx::Error {
    let text = format!("no answer within {} s", after.as_secs());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// Connects to PostgreSQL in bounded time.
async fn connect_postgres(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    match tokio::time::timeout(CONNECT_MAX, PgConnection::connect_with(options)).await {
        Ok(done) => done,
        Err(_) => Err(late(CONNECT_MAX)),
    }
}

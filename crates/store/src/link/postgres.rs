//! PostgreSQL's own part of a connection: what a session needs, and the lock that the one
//! writer holds on a session of its own.

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};

use super::{Link, STATEMENT_MAX, connect_postgres};
use crate::{StoreError, fault, location::Location};

/// See [`Link::catalogue`]: in PostgreSQL other programs' tables are no hindrance.
pub(super) const CATALOGUE: &str = "SELECT (to_regclass('store_head') IS NOT NULL)::int::bigint, 0::bigint";

/// First half of the advisory lock's name: "FSHR". The second is the schema's name, because
/// one database may have several stores in different schemas.
const LOCK_CLASS: i64 = 0x4653_4852;

/// A server that lost its client must notice, or it would keep the lock for hours: asked
/// after 10 s of silence, three times, 5 s apart.
const KEEPALIVES: [(&str, &str); 3] =
    [("tcp_keepalives_idle", "10"), ("tcp_keepalives_interval", "5"), ("tcp_keepalives_count", "3")];

pub(super) async fn open(
    location: &Location,
    options: &PgConnectOptions,
) -> Result<PgConnection, StoreError> {
    connect_postgres(&session(options, "farshore"))
        .await
        .map_err(|error| fault::opening(location, "log in", error))
}

/// A client that is stopped, or whose host hangs, must not hold everybody up for long: no
/// transaction here waits for anything between its statements.
const TRANSACTION_IDLE_MAX: &str = "10s";
/// As long the lock's session may be silent, which asks every two seconds: then the lock is
/// given up, and who waits takes over. Whoever wakes up later is stopped by the fence.
const LOCK_SILENT_MAX: &str = "SET idle_session_timeout = '10s'";

fn session(options: &PgConnectOptions, name: &str) -> PgConnectOptions {
    let limit = STATEMENT_MAX.as_millis().to_string();
    let options = options.clone().application_name(name).disable_statement_logging();
    options.options(KEEPALIVES).options([
        ("statement_timeout", limit.as_str()),
        ("idle_in_transaction_session_timeout", TRANSACTION_IDLE_MAX),
        ("default_transaction_isolation", "read committed"),
    ])
}

/// Refuses a server that could lose what it acknowledges or cannot write, and says which
/// line of its history this is. A session without durable commits gets them.
pub(crate) async fn prepare(link: &mut Link, location: &Location) -> Result<String, StoreError> {
    if matches!(link, Link::Sqlite(_)) {
        return Ok(String::new());
    }
    let failed = |error| fault::opening(location, "look at the server", error);
    let unfit = |why: &str| StoreError::Unfit { location: location.to_string(), why: why.to_owned() };
    let (standby, encoding, commit, fsync): (bool, String, String, String) = link
        .one(
            "SELECT pg_is_in_recovery(), getdatabaseencoding()::text, \
             current_setting('synchronous_commit'), current_setting('fsync')",
            &[],
        )
        .await
        .map_err(failed)?;
    if standby {
        return Err(unfit("it is a standby, which only reads: name the primary server"));
    }
    if encoding != "UTF8" {
        return Err(unfit("its encoding is not UTF8: create the database with ENCODING 'UTF8'"));
    }
    if fsync == "off" {
        tracing::warn!(%location, "the server runs with fsync = off: a power cut may lose everything");
    }
    if commit == "off" {
        link.execute("SET synchronous_commit = on", &[]).await.map_err(failed)?;
    }
    let timeline = link.one("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", &[]).await;
    match timeline {
        Ok((timeline,)) => Ok(timeline),
        Err(error) if fault::class(&error) == fault::Class::Lost => Err(failed(error)),
        Err(error) => {
            tracing::warn!(%location, %error, "a failover of the server would not be noticed at the next start");
            Ok(String::new())
        }
    }
}

/// A session for the lock alone: whatever happens to the writing one, it stays.
pub(crate) async fn lock_session(location: &Location) -> Result<Link, StoreError> {
    let Location::Postgres(postgres) = location else {
        let why = "only PostgreSQL locks by session".to_owned();
        return Err(StoreError::Unfit { location: location.to_string(), why });
    };
    let session = session(&postgres.options, "farshore lock");
    let link = connect_postgres(&session).await.map_err(|error| fault::opening(location, "log in", error))?;
    let mut link = Link::Postgres(Box::new(link));
    if let Err(error) = link.execute(LOCK_SILENT_MAX, &[]).await {
        let why = "a vault that hangs would keep the lock: PostgreSQL 14 or newer gives it up";
        tracing::warn!(%location, %error, "{why}");
    }
    Ok(link)
}

/// Takes the lock, unless another session has it.
pub(crate) async fn try_lock(link: &mut Link) -> Result<bool, sqlx::Error> {
    let sql = "SELECT pg_try_advisory_lock($1::bigint::int, hashtext(current_schema()))";
    let (taken,): (bool,) = link.one(sql, &[super::Value::Int(LOCK_CLASS)]).await?;
    Ok(taken)
}

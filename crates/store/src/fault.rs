//! What a database's error means: its codes, and the typed error that a caller gets. Pure.

use std::sync::Arc;

use crate::{StoreError, location::Location};

/// What has to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The connection is of no use any more: connect anew.
    Lost,
    /// No space.
    DiskFull,
    /// The database's files are damaged.
    Corrupt,
    /// The user may not.
    Permission,
    /// No such database, or none at all.
    Missing,
    /// One statement's values are at fault.
    Data,
    /// Anything else; the connection may go on after a rollback.
    Other,
}

/// Sorts an error.
pub(crate) fn class(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Database(inner) => {
            let code = inner.code().unwrap_or_default();
            let sqlite = inner.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
            if sqlite { of_sqlite(code.parse().unwrap_or_default()) } else { of_postgres(&code) }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Class::Lost
        }
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Class::Data,
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Class::Corrupt,
        _ => Class::Other,
    }
}

/// By SQLite's primary result code, the lower byte of its extended ones.
fn of_sqlite(code: u32) -> Class {
    match code & 0xff {
        3 | 8 | 23 => Class::Permission,
        // A failed read or write: what the connection has in memory is not to be trusted.
        10 => Class::Lost,
        11 => Class::Corrupt,
        13 => Class::DiskFull,
        14 => Class::Permission,
        18..=20 => Class::Data,
        26 => Class::Missing,
        _ => Class::Other,
    }
}

/// By SQLSTATE.
fn of_postgres(code: &str) -> Class {
    match code {
        "53100" => Class::DiskFull,
        "XX001" | "XX002" => Class::Corrupt,
        "42501" => Class::Permission,
        "3D000" => Class::Missing,
        // A server that ends, starts, or is a standby now; too many connections.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "53300" => Class::Lost,
        _ => match code.get(..2) {
            Some("08") => Class::Lost,
            Some("28") => Class::Permission,
            Some("22" | "23") => Class::Data,
            _ => Class::Other,
        },
    }
}

/// The error of somebody who opens a store.
pub(crate) fn opening(location: &Location, what: &'static str, error: sqlx::Error) -> StoreError {
    let class = class(&error);
    let source = Arc::new(error);
    let shown = location.to_string();
    match class {
        Class::Lost => {
            StoreError::Unavailable { location: shown, down_secs: 0, retry_secs: 1, source: Some(source) }
        }
        Class::Missing => StoreError::NotAStore { location: shown, why: format!("it says: {source}") },
        _ => by_class(class, shown, what, source),
    }
}

/// The error of somebody whose statement failed on a connection that goes on.
pub(crate) fn working(location: &Location, what: &'static str, error: sqlx::Error) -> StoreError {
    by_class(class(&error), location.to_string(), what, Arc::new(error))
}

fn by_class(class: Class, location: String, what: &'static str, source: Arc<sqlx::Error>) -> StoreError {
    match class {
        Class::DiskFull => StoreError::DiskFull { location, source },
        Class::Corrupt => StoreError::Corrupt {
            location,
            what: format!("seen when it was to {what}"),
            source: Some(source),
        },
        Class::Permission => StoreError::Permission {
            location,
            what,
            advice: "give the vault's user the right to read and write it (for PostgreSQL: to log in, and to create tables in its schema)",
            source: Some(source),
        },
        _ => StoreError::Failed { location, what, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_has_to_be_done() {
        // SQLITE_IOERR_FSYNC, SQLITE_FULL, SQLITE_CORRUPT_VTAB, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_BUSY.
        let sqlite = [1034, 13, 267, 1555, 5].map(of_sqlite);
        assert_eq!(sqlite, [Class::Lost, Class::DiskFull, Class::Corrupt, Class::Data, Class::Other]);
        let postgres = ["57P01", "53100", "28P01", "22021", "40001", "08006", "3D000"].map(of_postgres);
        assert_eq!(
            postgres,
            [
                Class::Lost,
                Class::DiskFull,
                Class::Permission,
                Class::Data,
                Class::Other,
                Class::Lost,
                Class::Missing
            ]
        );
    }
}

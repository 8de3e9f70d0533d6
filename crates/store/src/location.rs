//! Where a store lies: a connection string taken apart. This module must never show a
//! password, nor open anything.

use std::{fmt, path::PathBuf};

use sqlx::postgres::PgConnectOptions;

use crate::StoreError;

/// A SQLite file or a PostgreSQL database.
#[derive(Clone)]
pub enum Location {
    /// A file; its folder must exist.
    Sqlite(PathBuf),
    /// A database that exists; the tables are made in its current schema.
    Postgres(Box<PostgresLocation>),
}

/// How to reach a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresLocation {
    pub(crate) options: PgConnectOptions,
    shown: String,
}

impl Location {
    /// Reads a connection string: a path, `sqlite:PATH`, or `postgres://USER:PASSWORD@HOST/DATABASE`
    /// with libpq's parameters (a unix socket's folder as `?host=DIR`). The password may also
    /// come from `PGPASSWORD` or a password file.
    ///
    /// # Errors
    /// [`StoreError::Location`] for a string that means nothing.
    pub fn parse(text: &str) -> Result<Location, StoreError> {
        let fault = |why: &str| StoreError::Location { text: without_password(text), why: why.to_owned() };
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let options: PgConnectOptions =
                text.parse().map_err(|error: sqlx::Error| fault(&error.to_string()))?;
            let shown = without_password(text);
            return Ok(Location::Postgres(Box::new(PostgresLocation { options, shown })));
        }
        let path = match text.strip_prefix("sqlite:") {
            Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
            None if text.contains("://") => return Err(fault("no such kind of database")),
            None => text,
        };
        match path {
            "" | "/" => Err(fault("it has no path")),
            _ if path.contains(['?', '\0']) => Err(fault("a path takes no parameters")),
            ":memory:" => Err(fault("a store has to be durable")),
            _ => Ok(Location::Sqlite(PathBuf::from(path))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Sqlite(path) => write!(f, "{}", path.display()),
            Location::Postgres(postgres) => f.write_str(&postgres.shown),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// The text without what must not be shown: the password before the host, and the
/// parameters, one of which may be a password.
fn without_password(text: &str) -> String {
    let (main, parameters) = text.split_once('?').map_or((text, None), |(main, p)| (main, Some(p)));
    let main = match (main.find("://"), main.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => {
            let user = main[scheme + 3..at].split(':').next().unwrap_or_default();
            format!("{}{user}{}", &main[..scheme + 3], &main[at..])
        }
        _ => main.to_owned(),
    };
    let shown = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        matches!(name, "host" | "port" | "user" | "dbname" | "sslmode")
    };
    let kept: Vec<&str> = parameters.unwrap_or_default().split('&').filter(shown).collect();
    if kept.is_empty() { main } else { format!("{main}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_sqlite_file_with_or_without_its_scheme() {
        for text in ["/var/lib/vault.db", "sqlite:/var/lib/vault.db", "sqlite:///var/lib/vault.db"] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location.to_string(), "/var/lib/vault.db", "{text}");
        }
        assert_eq!(Location::parse("sqlite:v.db").unwrap().to_string(), "v.db");
    }

    #[test]
    fn what_names_no_store_is_refused_with_what_to_write() {
        for text in ["", "sqlite:", "sqlite::memory:", "mysql://a/b", "/a?mode=ro", "postgres://h:x/db"] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(error.contains("write a path"), "{text}: {error}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        for text in [
            "postgres://vault:s3cret@db.example/farshore",
            "postgres://vault@db.example/farshore?password=s3cret&sslmode=require",
            "postgresql://vault:s3@cret@db.example/farshore?host=/run&sslpassword=s3cret",
        ] {
            let location = Location::parse(text).unwrap();
            for shown in [location.to_string(), format!("{location:?}")] {
                assert!(shown.contains("vault@db.example/farshore") && !shown.contains("cret"), "{shown}");
            }
        }
        let error = Location::parse("postgres://vault:s3cret@h:x/db").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}

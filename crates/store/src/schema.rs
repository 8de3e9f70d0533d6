//! The tables, and how a database of any released schema comes to the newest one: forward
//! only, each step whole or not at all. This module must never know what rows mean.
//!
//! A released schema is never changed; the next one is a new file for each database.

use std::sync::Arc;

use crate::{StoreError, fault, link::Link, location::Location};

/// One step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    sqlite: &'static str,
    postgres: &'static str,
}

/// In order: the first makes schema 1.
const MIGRATIONS: &[Migration] = &[Migration {
    sqlite: include_str!("schema/1.sqlite.sql"),
    postgres: include_str!("schema/1.postgres.sql"),
}];

/// The newest schema.
pub const SCHEMA: u64 = MIGRATIONS.len() as u64;

/// The schema of a database; 0: it is empty.
///
/// # Errors
/// [`StoreError::Unfit`] where tables of somebody else are in a SQLite file.
pub(crate) async fn found(link: &mut Link, location: &Location) -> Result<u64, StoreError> {
    let failed = |error| fault::opening(location, "read the schema", error);
    let (head, tables): (i64, i64) = link.one(link.catalogue(), &[]).await.map_err(failed)?;
    if head == 0 && tables > 0 {
        let why = format!("it has {tables} tables of another program; give the path of a file of its own");
        // Not even by force: it is somebody's.
        return Err(StoreError::Unfit { location: location.to_string(), why });
    }
    if head == 0 {
        return Ok(0);
    }
    let (schema,): (i64,) = link.one("SELECT schema FROM store_head", &[]).await.map_err(failed)?;
    u64::try_from(schema).map_err(|_| {
        let why = format!("it says schema {schema}");
        StoreError::NotAStore { location: location.to_string(), why }
    })
}

/// Refuses a database that a newer program wrote.
pub(crate) fn refuse_newer(found: u64, location: &str) -> Result<(), StoreError> {
    if found > SCHEMA {
        let location = location.to_string();
        return Err(StoreError::SchemaNewer { location, found, known: SCHEMA });
    }
    Ok(())
}

/// Brings a database to the newest schema; `id` becomes its name if it is new.
pub(crate) async fn migrate(link: &mut Link, location: &Location, id: &str) -> Result<(), StoreError> {
    migrate_by(link, location, id, MIGRATIONS).await
}

async fn migrate_by(
    link: &mut Link,
    location: &Location,
    id: &str,
    migrations: &[Migration],
) -> Result<(), StoreError> {
    let found = found(link, location).await?;
    for (to, migration) in (1..).zip(migrations).skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        let step = step(link, *migration, to, id).await;
        if let Err(error) = step {
            // The connection is thrown away with the error; where it still works, this
            // gives the lock back at once.
            link.rollback().await.ok();
            return Err(match fault::class(&error) {
                fault::Class::Other | fault::Class::Data => {
                    StoreError::Migration { location: location.to_string(), to, source: Arc::new(error) }
                }
                _ => fault::opening(location, "bring the tables up to date", error),
            });
        }
        tracing::info!(%location, schema = to, "the store has a new schema");
    }
    Ok(())
}

async fn step(link: &mut Link, migration: Migration, to: u64, id: &str) -> Result<(), sqlx::Error> {
    link.begin().await?;
    let text = match link {
        Link::Sqlite(_) => migration.sqlite,
        Link::Postgres(_) => migration.postgres,
    };
    link.script(text).await?;
    if to == 1 {
        link.execute("INSERT INTO store_head (one, schema, id) VALUES (1, 1, $1)", &[id.into()]).await?;
    }
    link.execute("UPDATE store_head SET schema = $1", &[to.into()]).await?;
    link.commit().await
}

#[cfg(test)]
mod tests;

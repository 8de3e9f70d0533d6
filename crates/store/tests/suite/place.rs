//! Where a scenario has its store, and a way to look at it behind the store's back.

use std::{path::PathBuf, sync::Arc};

use farshore_store::{Loaded, Location, Options, Store, StoreError};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// A database of a scenario's own.
#[derive(Clone)]
pub struct Place {
    /// What an operator would write.
    pub text: String,
    folder: Arc<TempDir>,
}

impl Place {
    pub fn sqlite() -> Place {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let text = folder.path().join("vault.db").to_str().unwrap().to_owned();
        Place { text, folder }
    }

    pub fn postgres(text: String) -> Place {
        Place { text, folder: Arc::new(tempfile::tempdir().unwrap()) }
    }

    pub fn is_sqlite(&self) -> bool {
        !self.text.starts_with("postgres")
    }

    /// The same, reached by another connection string.
    pub fn by(&self, text: &str) -> Place {
        Place { text: text.to_owned(), folder: self.folder.clone() }
    }

    /// A file of the scenario's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn location(&self) -> Location {
        Location::parse(&self.text).unwrap()
    }

    pub async fn open(&self) -> (Store, Loaded) {
        self.open_with(Options::default()).await.unwrap()
    }

    pub async fn open_with(&self, options: Options) -> Result<(Store, Loaded), StoreError> {
        Store::open(self.location(), options).await
    }

    /// Changes the database as somebody would by hand.
    pub async fn by_hand(&self, sql: &str) {
        if self.is_sqlite() {
            let mut link = SqliteConnection::connect(&format!("sqlite:{}", self.text)).await.unwrap();
            sqlx::query(AssertSqlSafe(sql)).execute(&mut link).await.unwrap();
            link.close().await.unwrap();
        } else {
            let mut link = PgConnection::connect(&self.text).await.unwrap();
            sqlx::query(AssertSqlSafe(sql)).execute(&mut link).await.unwrap();
            link.close().await.unwrap();
        }
    }
}

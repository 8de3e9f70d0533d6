//! A look at a store that another process may have open: no lock, nothing changed.

use crate::{
    StoreError, fault,
    link::{Link, Purpose},
    load,
    location::Location,
    options::Options,
    record::Row,
    schema,
};

type RowAnswer = (String, String, i64, Vec<u8>, Option<i64>);

/// The rows of one kind, as they are at this moment.
///
/// # Errors
/// No store there, one of a newer version, or one that cannot be read.
pub async fn glance(location: &Location, options: &Options, kind: &str) -> Result<Vec<Row>, StoreError> {
    let mut link = Link::open(location, Purpose::Read, options).await?;
    let rows = read(&mut link, location, kind).await;
    link.close().await;
    rows
}

async fn read(link: &mut Link, location: &Location, kind: &str) -> Result<Vec<Row>, StoreError> {
    let found = schema::found(link, location).await?;
    schema::refuse_newer(found, &location.to_string())?;
    if found == 0 {
        return Ok(Vec::new());
    }
    let sql = "SELECT kind, key, version, body, sum FROM store_rows WHERE kind = $1 ORDER BY key";
    let answers: Vec<RowAnswer> =
        link.all(sql, &[kind.into()]).await.map_err(|error| fault::opening(location, "read", error))?;
    answers.into_iter().map(|answer| load::row_of(answer, location)).collect()
}

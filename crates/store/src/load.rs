//! Reads every row, and checks each against the sum that was written with it: a bit that
//! flipped on the disk must not become another epoch.

use bytes::Bytes;

use crate::{
    StoreError, fault,
    head::unsigned,
    link::Link,
    location::Location,
    record::{Row, RowId, Version},
};

type RowAnswer = (String, String, i64, Vec<u8>, Option<i64>);

/// Every row, by kind and key.
pub(crate) async fn rows(link: &mut Link, location: &Location) -> Result<Vec<Row>, StoreError> {
    let failed = |error| fault::opening(location, "read its rows", error);
    if matches!(link, Link::Sqlite(_)) {
        check_file(link, location).await?;
    }
    let sql = "SELECT kind, key, version, body, sum FROM store_rows ORDER BY kind, key";
    let answers: Vec<RowAnswer> = link.all(sql, &[]).await.map_err(failed)?;
    answers.into_iter().map(|answer| row_of(answer, location)).collect()
}

pub(crate) fn row_of(
    (kind, key, version, body, sum): RowAnswer,
    location: &Location,
) -> Result<Row, StoreError> {
    let id = RowId { kind, key };
    let version = Version(unsigned(version));
    if sum.is_some_and(|sum| sum != sum_of(&id, version, &body)) {
        let what = format!("{id} does not match its checksum");
        return Err(StoreError::Corrupt { location: location.to_string(), what, source: None });
    }
    Ok(Row { id, version, body: Bytes::from(body) })
}

/// SQLite finds a damaged page only when it comes across it; what is read once and trusted
/// for months is looked through.
async fn check_file(link: &mut Link, location: &Location) -> Result<(), StoreError> {
    for sql in ["PRAGMA quick_check('store_rows')", "PRAGMA quick_check('store_head')"] {
        let answers: Vec<(String,)> =
            link.all(sql, &[]).await.map_err(|error| fault::opening(location, "check its pages", error))?;
        if let Some((what,)) = answers.into_iter().find(|(answer,)| answer != "ok") {
            return Err(StoreError::Corrupt { location: location.to_string(), what, source: None });
        }
    }
    Ok(())
}

/// CRC-32C of everything in a row, each part after its length.
pub(crate) fn sum_of(id: &RowId, version: Version, body: &[u8]) -> i64 {
    let number = version.0.to_le_bytes();
    let parts: [&[u8]; 4] = [id.kind.as_bytes(), id.key.as_bytes(), &number, body];
    let sum = parts.iter().fold(0, |sum, part| {
        let len = (part.len() as u64).to_le_bytes();
        crc32c::crc32c_append(crc32c::crc32c_append(sum, &len), part)
    });
    i64::from(sum)
}

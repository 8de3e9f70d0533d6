//! Revocations are united, never taken back (rule R6): what a store that is older than its
//! members does not know of them, it learns from whoever does, and tells everybody anew.

use farshore_control::TrustDocument;
use farshore_pki::{Authority, PkiError, Trust};
use farshore_vault::Problem;

use super::{desk::Books, issuer::publish_trust};

/// Takes what somebody holds of this authority's revocations, and publishes again where
/// either side lacked something.
///
/// # Errors
/// A list that this authority did not sign; one that cannot be signed anew.
pub(super) fn unite(
    books: &mut Books<'_>,
    authority: &Authority,
    held: &TrustDocument,
) -> Result<(), Problem> {
    let now = i64::try_from(books.at.wall_ms / 1000).unwrap_or(i64::MAX);
    // By the own authority alone: whatever else is in the document counts for nothing.
    let trust = Trust::parse(authority.cert_pem(), &held.revoked_pem).map_err(unsound)?;
    for serial in trust.lists().iter().flat_map(farshore_pki::RevocationList::serials) {
        books.papers.put_revoked(serial, now);
    }
    let mut row = match books.papers.authority() {
        Some(row) => row,
        None => return Ok(()),
    };
    if row.revoked_number < trust.number() {
        row.revoked_number = trust.number();
        books.papers.put_authority(&row);
    }
    match books.core.trust() {
        Some(told) if told.revoked_number >= row.revoked_number && is_whole(books, authority, &told, now) => {
            Ok(())
        }
        _ => publish_trust(books, authority),
    }
}

/// Whether what is told to everybody names all that was revoked.
fn is_whole(books: &Books<'_>, authority: &Authority, told: &TrustDocument, now: i64) -> bool {
    let Ok(trust) = Trust::parse(authority.cert_pem(), &told.revoked_pem) else { return false };
    let named = |serial| trust.lists().iter().any(|list| list.serials().contains(serial));
    books.papers.revoked(now).iter().all(|revoked| named(&revoked.serial))
}

fn unsound(error: PkiError) -> Problem {
    super::issuer::problem(
        farshore_vault::ProblemKind::Invalid,
        "foreign-revocations",
        error.to_string(),
        "it was signed by another authority: look where it comes from",
    )
}

//! The warm copy of the vault that every site server keeps: a backup of its store, fetched in
//! pieces whenever it has changed, by which a surviving site becomes the vault when the other
//! one is lost. And what two sites tell each other of where the vault is, so that who was away
//! meanwhile finds it. This module must never know what is in a copy.

use farshore_types::SiteId;
use serde::{Deserialize, Serialize};

use crate::Term;

/// Where a site server posts a [`CopyAsk`] at the vault, and gets a [`CopyPiece`].
pub const SITE_COPY_PATH: &str = "/site/v1/copy";
/// Where a site server posts a [`Whereabouts`] at another site's, and gets one.
pub const SITE_PROBE_PATH: &str = "/site/v1/probe";

/// Most bytes of a piece.
pub const PIECE_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes of a copy: what comes beyond is not taken.
pub const COPY_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Which copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyMark {
    /// The vault's term.
    pub term: u64,
    /// Of which instant it is, in milliseconds since the Unix epoch by the vault's clock.
    pub at_ms: u64,
    /// Bytes.
    pub len: u64,
    /// BLAKE3 of all of them, as hexadecimal digits.
    pub digest: String,
}

/// A site server asks whether its copy is the newest, or for a piece of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAsk {
    /// Which site.
    pub site: SiteId,
    /// The copy that it has, or is fetching.
    pub held: Option<CopyMark>,
    /// How many bytes of it it has; all of them: only news are wanted.
    pub have: u64,
}

/// The vault's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyPiece {
    /// The newest copy. Where it is another one than was asked for, the piece is its first.
    pub mark: CopyMark,
    /// Milliseconds for which the vault has been changed since; 0: it has not been.
    pub behind_ms: u64,
    /// The bytes that follow those that the site server has, in Base64; at most [`PIECE_MAX`].
    pub data: String,
}

/// Where a site finds the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Which site says so.
    pub site: SiteId,
    /// The term of the vault that it follows, once one has spoken.
    pub term: Option<Term>,
    /// Where that vault is: `host:port`, or several with commas between.
    pub vault: String,
}

/// How a site's warm copy stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStatus {
    /// Which copy it is.
    pub mark: CopyMark,
    /// Milliseconds for which the vault may have changed without this copy's knowing.
    pub behind_ms: u64,
}

//! `farshore vault promote`: the vault's site is lost, and the warm copy of a surviving site
//! becomes the vault, with a higher term (rule R6). Its own site server follows at once, the
//! others when they hear of the term. This module must never touch what the old vault has.

use std::path::PathBuf;

use super::{VaultConfig, restore, restore::Restored, wall_ms};
use crate::{
    ProgramError,
    site::{self, SiteConfig, copies},
};

/// What a promotion came to.
#[derive(Debug)]
pub struct Promoted {
    /// The vault that was made of the copy.
    pub restored: Restored,
    /// The copy.
    pub copy: PathBuf,
    /// Milliseconds since it was made; none: that is not known.
    pub age_ms: Option<u64>,
    /// Where the old vault was; none: no site server of this machine follows.
    pub before: Option<String>,
}

/// Makes a vault of a site's warm copy, or of the backup `copy`. Without `force` not while the
/// site server of this machine reaches the vault.
///
/// # Errors
/// A vault that answers; no copy; whatever [`restore`] says. Until the restore itself begins,
/// nothing is changed.
pub async fn promote(
    config: &VaultConfig,
    site: &SiteConfig,
    copy: Option<PathBuf>,
    force: bool,
    recovery_key: Option<&str>,
) -> Result<Promoted, ProgramError> {
    if !force && site::status(site).await.is_ok_and(|status| status.vault_answers) {
        let what = "the vault answers this site: nothing is lost";
        let advice = "move it with backup and restore; or, to have this one supersede it, add --force";
        return Err(ProgramError::usage(what, advice));
    }
    let copy = copy.unwrap_or_else(|| copies::copy_of(site));
    let made_ms = copies::made_at(&copy)?;
    let age_ms = (made_ms > 0).then(|| wall_ms().saturating_sub(made_ms));
    // Of a vault that is there in the store already a backup is made first.
    let restored = restore(config, &copy, force, recovery_key).await?;
    let before = site::place_anew(site, &restored.address)?;
    Ok(Promoted { restored, copy, age_ms, before })
}

//! The vault's store opened by a command while no vault runs on it: a restore, the authority's
//! recovery, a new token. What was restored begins its new term here or in `serve`,
//! whichever comes first, in the one transaction that tells the store so.

use std::time::Instant;

use farshore_store::{LearnReason, Loaded, Options, Store};
use farshore_vault::{Core, Moment, Start};

use super::{
    config::VaultConfig,
    desk::{Books, changes_of},
    moment_since,
    papers::{PREFIX, Papers},
};
use crate::ProgramError;

/// Core and papers of what a store has; a new term, where that may be old, waits in their
/// changes.
pub(super) fn load(loaded: &Loaded) -> Result<(Core, Papers), ProgramError> {
    let mut papers = Papers::of(&loaded.rows);
    let rows = loaded.rows.iter().filter(|row| !row.id.kind.starts_with(PREFIX));
    let rows = rows.map(|row| (row.id.kind.as_str(), row.id.key.as_str(), &row.body[..]));
    let at = moment_since(Instant::now());
    let Some(learn) = loaded.learn else { return Ok((Core::load(rows, Start::Continued, &at)?, papers)) };
    tracing::warn!(?learn, "the store may be old: a new term begins, and hosts are heard first");
    papers.first_of_term = true;
    let mut core = Core::load(rows, Start::Restored, &at)?;
    if learn.reason == LearnReason::Restored {
        // What was taken back after the backup must not hold again.
        let suspended = core.suspend_tokens();
        let withdrawn = papers.withdraw_unused();
        tracing::warn!(
            ?suspended,
            withdrawn,
            "tokens of the backup hold again when they are confirmed; unused registration keys are withdrawn"
        );
    }
    Ok((core, papers))
}

/// An open store that no vault serves.
pub(super) struct Offline {
    pub(super) core: Core,
    pub(super) papers: Papers,
    pub(super) at: Moment,
    store: Store,
}

impl Offline {
    /// Opens it for this command alone.
    pub(super) async fn open(config: &VaultConfig) -> Result<Offline, ProgramError> {
        let (store, loaded) = Store::open(config.location_of_vault()?, Options::default()).await?;
        match load(&loaded) {
            Ok((core, papers)) => Ok(Offline { core, papers, at: moment_since(Instant::now()), store }),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    /// What can be changed.
    pub(super) fn books(&mut self) -> Books<'_> {
        Books { core: &mut self.core, papers: &mut self.papers, at: self.at }
    }

    /// Stores what was changed, all of it or nothing, and closes.
    pub(super) async fn finish(self) -> Result<(), ProgramError> {
        let stored = match changes_of(&self.core, &self.papers) {
            Some(changes) => self.store.commit(changes).await.map(drop),
            None => Ok(()),
        };
        self.store.close().await;
        Ok(stored?)
    }

    /// Closes; nothing was changed.
    pub(super) async fn leave(self) {
        self.store.close().await;
    }
}

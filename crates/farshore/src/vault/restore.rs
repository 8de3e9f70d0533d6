//! `farshore vault restore`: a backup becomes the vault again. Its term is raised and it
//! learns from hosts and sites before it commands (rule R6); tokens of the backup do not hold
//! before they are confirmed, since any may have been removed after it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use farshore_pki::{Fingerprint, RecoveryKey};
use farshore_store::{BackupInfo, Force, Options, Store, StoreError, verify};

use super::{
    backups,
    config::VaultConfig,
    offline::Offline,
    recover::{add_token, give_certificate, open_with},
    serve, wall_ms,
};
use crate::ProgramError;

/// Name of the token that a restore gives to who restores.
const TOKEN: &str = "restored";

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// What was in the backup.
    pub info: BackupInfo,
    /// The term that begins.
    pub term: u64,
    /// A token that holds; shown once.
    pub token: String,
    /// Tokens of the backup, which wait to be confirmed.
    pub suspended: Vec<String>,
    /// Where the vault is reached.
    pub address: String,
    /// The authority's fingerprint; none: its key stays closed until the recovery key opens it.
    pub fingerprint: Option<Fingerprint>,
    /// Why its key stays closed.
    pub closed: Option<String>,
    /// What was in the store before, as a backup.
    pub replaced: Option<PathBuf>,
}

/// Restores a backup into the configured store. `recovery_key` is needed where this machine's
/// own file does not open the authority's key.
///
/// # Errors
/// A backup that is damaged or newer; a vault that runs; one that is there, without `force`;
/// a wrong recovery key. Until the restore itself begins, nothing is changed.
pub async fn restore(
    config: &VaultConfig,
    file: &Path,
    force: bool,
    recovery_key: Option<&str>,
) -> Result<Restored, ProgramError> {
    let info = verify(file).await?;
    if let Some(key) = recovery_key {
        // A slip of the pen is found before anything is changed.
        key.parse::<RecoveryKey>().map_err(|e| {
            ProgramError::usage(format!("this is no recovery key: {e}"), "nothing was changed")
        })?;
    }
    fs::create_dir_all(&config.data_dir).map_err(ProgramError::io("create", &config.data_dir))?;
    let replaced = if force { set_aside(config).await? } else { None };
    let (location, options) = (config.location()?, Options::default());
    let how = if force { Force::Overwrite } else { Force::No };
    farshore_store::restore(&location, &options, file, how).await?;
    begin(config, info, recovery_key, replaced).await
}

/// A backup of what will be overwritten: whoever forces may be wrong.
async fn set_aside(config: &VaultConfig) -> Result<Option<PathBuf>, ProgramError> {
    // Opened, so that it is certain that nobody serves it.
    let (store, loaded) = match Store::open(config.location()?, Options::default()).await {
        Ok(opened) => opened,
        // The restore moves it aside as it is.
        Err(StoreError::Corrupt { .. } | StoreError::NotAStore { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    store.close().await;
    if loaded.rows.is_empty() {
        return Ok(None);
    }
    let dir = config.backups();
    fs::create_dir_all(&dir).map_err(ProgramError::io("create", &dir))?;
    let path = dir.join(format!("replaced-{}", backups::name_of(wall_ms())));
    backups::backup(config, Some(&path)).await?;
    Ok(Some(path))
}

/// The new term, a token that holds, and where possible the authority and a certificate.
async fn begin(
    config: &VaultConfig,
    info: BackupInfo,
    recovery_key: Option<&str>,
    replaced: Option<PathBuf>,
) -> Result<Restored, ProgramError> {
    let mut offline = Offline::open(config).await?;
    let suspended = offline.core.tokens().filter(|row| row.suspended).map(|row| row.name.clone()).collect();
    let token = add_token(&mut offline, TOKEN)?;
    let opened = match (serve::unlock(config, &offline.papers), recovery_key) {
        (Err(_), Some(key)) => open_with(config, &mut offline.papers, key).map(|(authority, _)| authority),
        (unlocked, _) => unlocked,
    };
    let (authority, closed) = match opened {
        Ok(authority) => (Some(authority), None),
        Err(error) => (None, Some(error.to_string())),
    };
    if let Some(authority) = &authority {
        give_certificate(config, authority, &mut offline.papers)?;
    }
    let term = offline.core.term().number;
    offline.finish().await?;
    let fingerprint = authority.map(|authority| authority.fingerprint()).transpose()?;
    let address = config.public_address();
    Ok(Restored { info, term, token, suspended, address, fingerprint, closed, replaced })
}

//! The authority opened again by the recovery key that people kept, and a token for whoever
//! has the machine but no token: by commands on the vault's own machine, while it stands.

use std::time::SystemTime;

use farshore_pki::{Authority, Fingerprint, RecoveryKey, UnlockKey};
use farshore_vault::{Command, rows::TokenRow};
use uuid::Uuid;

use super::{config::VaultConfig, offline::Offline, own, papers::Papers, serve};
use crate::ProgramError;

/// What came of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The authority's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether anything had to be done.
    pub changed: bool,
}

/// Opens the authority's key with the recovery key, and seals it anew for this machine, so
/// that the vault starts by itself from now on. Without a `key` that is not needed.
///
/// # Errors
/// A vault that runs; a key that is mistyped or another vault's: nothing is changed then.
pub async fn recover_authority(config: &VaultConfig, key: &str) -> Result<Recovered, ProgramError> {
    let mut offline = Offline::open(config).await?;
    match open_with(config, &mut offline.papers, key) {
        Ok((authority, changed)) => {
            give_certificate(config, &authority, &mut offline.papers)?;
            offline.finish().await?;
            Ok(Recovered { fingerprint: authority.fingerprint()?, changed })
        }
        Err(error) => {
            offline.leave().await;
            Err(error)
        }
    }
}

/// The authority, by this machine's file or by the recovery key; whether the file was made or
/// the key sealed anew.
pub(super) fn open_with(
    config: &VaultConfig,
    papers: &mut Papers,
    key: &str,
) -> Result<(Authority, bool), ProgramError> {
    let row = papers.authority().ok_or_else(|| config.no_vault())?;
    let advice = "type it as `farshore vault init` showed it, ten groups of five; nothing was changed";
    let key: RecoveryKey =
        key.parse().map_err(|e| ProgramError::usage(format!("this is no recovery key: {e}"), advice))?;
    let authority = Authority::unseal(&row.cert_pem, &row.sealed_for_recovery, &key)
        .map_err(|e| ProgramError::usage(e.to_string(), advice))?;
    if serve::unlock(config, papers).is_ok() {
        return Ok((authority, false));
    }
    let file = config.unlock_key();
    let unlock = UnlockKey::load_or_create(&file).map_err(|e| {
        ProgramError::usage(e.to_string(), format!("move {} away; a new one is made then", file.display()))
    })?;
    papers.put_authority(&super::papers::AuthorityRow { sealed_for_unlock: authority.seal(&unlock)?, ..row });
    Ok((authority, true))
}

/// Sees that the vault has a certificate of its own on this machine.
pub(super) fn give_certificate(
    config: &VaultConfig,
    authority: &Authority,
    papers: &mut Papers,
) -> Result<(), ProgramError> {
    if own::held(&config.data_dir, authority, papers).is_some() {
        return Ok(());
    }
    // The list is the store's; the vault takes what it has when it starts.
    let now = i64::try_from(super::wall_ms() / 1000).unwrap_or(i64::MAX);
    let mut row = papers.authority().ok_or(farshore_vault::LoadError::Empty)?;
    let list = authority.revocation_list(row.revoked_number, &papers.revoked(now), SystemTime::now())?;
    let id = papers.vault_id().unwrap_or_else(Uuid::new_v4);
    let (bundle, issued) = own::certify(config, authority, id, &list)?;
    row.vault = Some(id);
    papers.put_authority(&row);
    papers.put_issued(&issued);
    Ok(bundle.save(&config.data_dir)?)
}

/// Makes a token of the API on the vault's own machine, while no vault runs: for who lost
/// the last one.
///
/// # Errors
/// A vault that runs, or is none; a name that is taken.
pub async fn new_token(config: &VaultConfig, name: &str) -> Result<String, ProgramError> {
    let mut offline = Offline::open(config).await?;
    match add_token(&mut offline, name) {
        Ok(token) => {
            offline.finish().await?;
            Ok(token)
        }
        Err(error) => {
            offline.leave().await;
            Err(error)
        }
    }
}

pub(super) fn add_token(offline: &mut Offline, name: &str) -> Result<String, ProgramError> {
    let taken = |wanted: &str| offline.core.tokens().any(|row: &TokenRow| row.name == wanted);
    let mut free = name.to_owned();
    let mut n = 1;
    while taken(&free) {
        n += 1;
        free = format!("{name}-{n}");
    }
    let at = offline.at;
    let add = Command::AddToken { name: free, expires_ms: None };
    Ok(offline.books().core.run(&add, None, &at)?.secret.unwrap_or_default())
}

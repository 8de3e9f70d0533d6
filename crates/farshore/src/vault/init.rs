//! `farshore vault init`: the authority, the vault's certificate, the first token. What is
//! shown once is kept nowhere. Repeated where a vault is, it changes nothing and says so.

use std::{fs, sync::Arc, time::Instant};

use farshore_pki::{Authority, Fingerprint, RecoveryKey, UnlockKey};
use farshore_store::{Changes, Expect, Options, RowId, Store};
use farshore_vault::{Command, Core};
use uuid::Uuid;

use super::{
    config::VaultConfig,
    desk::Books,
    issuer::publish_trust,
    moment_since, own,
    papers::{AuthorityRow, Papers},
};
use crate::ProgramError;

/// What a new vault shows its maker, once.
#[derive(Debug)]
pub struct Made {
    /// Opens the authority's key on the day that the vault is lost.
    pub recovery_key: String,
    /// The owner's token of the API.
    pub token: String,
    /// The authority's certificate, PEM, by which operators know the vault.
    pub authority_pem: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Where the vault is reached.
    pub address: String,
}

/// Makes a vault in an empty store; `owner` names the first token.
///
/// # Errors
/// A vault that is there already; files and stores that cannot be written.
pub async fn init(config: &VaultConfig, owner: &str) -> Result<Made, ProgramError> {
    fs::create_dir_all(&config.data_dir).map_err(ProgramError::io("create", &config.data_dir))?;
    let (store, loaded) = Store::open(config.location()?, Options::default()).await?;
    if !loaded.rows.is_empty() {
        store.close().await;
        let (place, start) = (config.location()?.to_string(), config.command("vault serve"));
        return Err(ProgramError::Exists { place, start });
    }
    let made = make(config, owner, &store).await;
    store.close().await;
    made
}

async fn make(config: &VaultConfig, owner: &str, store: &Store) -> Result<Made, ProgramError> {
    let authority = Arc::new(Authority::create("Farshore")?);
    let (recovery, unlock) = (RecoveryKey::generate(), UnlockKey::load_or_create(&config.unlock_key())?);
    let mut papers = Papers::default();
    let vault = Uuid::new_v4();
    papers.put_authority(&AuthorityRow {
        vault: Some(vault),
        cert_pem: authority.cert_pem().to_owned(),
        sealed_for_recovery: authority.seal(&recovery)?,
        sealed_for_unlock: authority.seal(&unlock)?,
        revoked_number: 0,
    });
    let at = moment_since(Instant::now());
    let mut core = Core::init(&at);
    let mut books = Books { core: &mut core, papers: &mut papers, at };
    publish_trust(&mut books, &authority)?;
    let add = Command::AddToken { name: owner.to_owned(), expires_ms: None };
    let token = books.core.run(&add, None, &at)?.secret.unwrap_or_default();
    let (bundle, issued) = own::certify(config, &authority, vault, "")?;
    papers.put_issued(&issued);
    let mut changes = Changes::new();
    for change in core.changes() {
        changes =
            changes.put(RowId::new(change.kind, change.key), Expect::Absent, change.body.unwrap_or_default());
    }
    for (id, body) in papers.changes() {
        changes = changes.put(id, Expect::Absent, body.unwrap_or_default());
    }
    // The certificate first: a vault in the store without one could never be started.
    bundle.save(&config.data_dir)?;
    store.commit(changes).await?;
    Ok(Made {
        recovery_key: recovery.reveal().to_string(),
        token,
        authority_pem: authority.cert_pem().to_owned(),
        fingerprint: authority.fingerprint()?,
        address: config.public_address(),
    })
}

//! `farshore vault serve`: opens the store, loads the core, unlocks the authority, and
//! answers until it is stopped.

use std::{sync::Arc, time::Instant};

use farshore_channel::{Keyring, Listener, enrolment_router};
use farshore_pki::{Authority, Credentials, UnlockKey};
use farshore_store::{Loaded, Options, Store, Wait};
use farshore_vault::{Core, Start};
use tokio_util::sync::CancellationToken;

use super::{
    api,
    config::VaultConfig,
    desk::Desk,
    issuer::Issuer,
    members, moment_since,
    papers::{PREFIX, Papers},
};
use crate::ProgramError;

/// Serves until `stop` is cancelled, or the store can never be written again. `ready` is
/// told where it listens.
///
/// # Errors
/// Whatever keeps it from beginning.
pub async fn serve(
    config: &VaultConfig,
    stop: CancellationToken,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<(), ProgramError> {
    let options = Options { wait: Wait::Forever, ..Options::default() };
    let (store, loaded) = Store::open(config.location()?, options).await?;
    let (core, papers) = load(&loaded)?;
    let authority = unlock(config, &papers)?;
    let keyring = Keyring::new(Credentials::load(&config.data_dir)?)?;
    let term = core.term();
    let desk = Desk::open(core, papers, store, stop.clone());
    let issuer = Issuer::new(desk.clone(), authority, keyring.clone(), config)?;
    issuer.follow_trust().await?;
    let public = api::router(desk.clone(), issuer.clone(), stop.clone());
    let strangers = enrolment_router(Arc::new(issuer.clone())).merge(public);
    let members = members::router(desk.clone(), issuer);
    let listener = Listener::bind(&config.listen, keyring, members).await?.open_to_strangers(strangers);
    let serving = listener.serve()?;
    tracing::info!(address = %serving.address(), term = term.number, "the vault answers");
    ready(serving.address());
    stop.cancelled().await;
    tracing::info!("stopping");
    serving.stop().await;
    Ok(())
}

pub(super) fn load(loaded: &Loaded) -> Result<(Core, Papers), ProgramError> {
    let mut papers = Papers::of(&loaded.rows);
    let rows = loaded.rows.iter().filter(|row| !row.id.kind.starts_with(PREFIX));
    let rows = rows.map(|row| (row.id.kind.as_str(), row.id.key.as_str(), &row.body[..]));
    let start = match loaded.learn {
        None => Start::Continued,
        Some(learn) => {
            tracing::warn!(?learn, "the store may be old: a new term begins, and hosts are heard first");
            papers.first_of_term = true;
            Start::Restored
        }
    };
    Ok((Core::load(rows, start, &moment_since(Instant::now()))?, papers))
}

pub(super) fn unlock(config: &VaultConfig, papers: &Papers) -> Result<Authority, ProgramError> {
    let row = papers.authority().ok_or_else(|| ProgramError::NoAuthority {
        place: config.location().map_or_else(|_| String::new(), |place| place.to_string()),
    })?;
    let key = UnlockKey::load(&config.unlock_key())?;
    Ok(Authority::unseal(&row.cert_pem, &row.sealed_for_unlock, &key)?)
}

//! `farshore vault serve`: opens the store, loads the core, unlocks the authority, and
//! answers until it is stopped. Where another process has the store, or takes it over, it
//! stands by for its turn.

use std::{sync::Arc, time::Duration};

use axum::middleware::from_fn_with_state;
use farshore_channel::{Listener, Upkeep, enrolment_router};
use farshore_env::SystemClock;
use farshore_pki::{Authority, UnlockKey};
use farshore_store::{Options, Status, Store, StoreError, Wait};
use farshore_vault::LoadError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    api, backups,
    config::VaultConfig,
    copies::Copies,
    desk::Desk,
    issuer::Issuer,
    members, metrics,
    notify::Channels,
    offline::load,
    own::{self, Own},
    papers::Papers,
    wall_ms, watch as memory,
};
use crate::ProgramError;

/// How often it is looked whether hosts know of revocations that the papers do not.
const SETTLE: Duration = Duration::from_secs(2);

/// Serves until `stop` is cancelled, or the store can never be written again. `ready` is
/// told where it listens, each time that it does.
///
/// # Errors
/// Whatever keeps it from beginning, or from going on.
pub async fn serve(
    config: &VaultConfig,
    stop: CancellationToken,
    ready: impl Fn(std::net::SocketAddr),
) -> Result<(), ProgramError> {
    loop {
        match serve_once(config, &stop, &ready).await? {
            Some(StoreError::Superseded { by, .. }) => {
                tracing::warn!(by, "another vault has taken over; this one commands nothing, and stands by");
            }
            Some(error) => return Err(error.into()),
            None => return Ok(()),
        }
    }
}

/// One turn; says why it ended where that was the store's doing.
async fn serve_once(
    config: &VaultConfig,
    stop: &CancellationToken,
    ready: &impl Fn(std::net::SocketAddr),
) -> Result<Option<StoreError>, ProgramError> {
    let location = config.location_of_vault()?;
    let (retention, flush_every) = (memory::retention(), memory::FLUSH_EVERY);
    let options = Options { wait: Wait::Forever, retention, flush_every, ..Options::default() };
    let Some(opened) = stop.run_until_cancelled(Store::open(location, options)).await else {
        return Ok(None);
    };
    let (store, loaded) = opened?;
    let turn = stop.child_token();
    let done = with_store(config, &turn, store.clone(), &loaded, ready).await;
    turn.cancel();
    let ended = match &*store.status().borrow() {
        Status::Ended { error } if !stop.is_cancelled() => Some(error.clone()),
        _ => None,
    };
    store.close().await;
    done.map(|()| ended)
}

async fn with_store(
    config: &VaultConfig,
    turn: &CancellationToken,
    store: Store,
    loaded: &farshore_store::Loaded,
    ready: &impl Fn(std::net::SocketAddr),
) -> Result<(), ProgramError> {
    let channels = Channels::of(&config.alerts)?;
    let (mut core, papers) = load(loaded).map_err(|error| match error {
        ProgramError::Load(LoadError::Empty) => config.no_vault(),
        error => error,
    })?;
    memory::restore(&store, &mut core, wall_ms()).await?;
    core.set_channels(channels.names());
    let authority = unlock(config, &papers)?;
    let known = papers.clone();
    let term = core.term();
    members::tell_if_superseded(&core, None);
    tokio::spawn(watch(store.clone(), turn.clone()));
    let desk = Desk::open(core, papers, store, turn.clone());
    let keyring = own::keyring(config, &authority, &known, &desk).await?;
    let issuer = Issuer::new(desk.clone(), authority, keyring.clone(), config)?;
    issuer.follow_trust().await?;
    if let Err(problem) = issuer.learn_own().await {
        // Noted it is, and told to everybody as soon as the vault may speak.
        tracing::info!(what = problem.what, "what the vault's own files know of revocations is told later");
    }
    let upkeep = Arc::new(Upkeep::new(keyring.clone(), &config.data_dir, Arc::new(SystemClock::default())));
    issuer.standing().watch(Arc::clone(&upkeep));
    let api = api::router(desk.clone(), issuer.clone(), channels.clone(), turn.clone());
    let api = api.layer(from_fn_with_state(desk.meters().clone(), metrics::measured));
    let strangers = enrolment_router(Arc::new(issuer.clone())).merge(api);
    let members = members::router(desk.clone(), issuer.clone(), Copies::new(config, &desk));
    if let Some(address) = &config.metrics_listen {
        let address = metrics::serve(address, &desk, issuer.standing(), turn).await?;
        tracing::info!(%address, "figures for Prometheus are at /metrics");
    }
    channels.run(&desk, turn).await?;
    let listener = Listener::bind(&config.listen, keyring, members).await?.open_to_strangers(strangers);
    let serving = listener.serve()?;
    tracing::info!(address = %serving.address(), term = term.number, "the vault answers");
    ready(serving.address());
    let own = Own { issuer: issuer.clone(), config: config.clone() };
    tokio::join!(
        upkeep.keep_renewed(&own, turn),
        backups::keep(config, issuer.standing(), turn),
        settle(&issuer, turn),
        turn.cancelled(),
    );
    tracing::info!("stopping");
    serving.stop().await;
    Ok(())
}

/// Ends the turn when the store can never be written again, also while nobody writes.
async fn watch(store: Store, turn: CancellationToken) {
    let mut status = store.status();
    let ended = status.wait_for(|status| matches!(status, Status::Ended { .. }));
    let ended = turn.run_until_cancelled(ended).await.is_some();
    if ended {
        turn.cancel();
    }
}

async fn settle(issuer: &Issuer, turn: &CancellationToken) {
    while turn.run_until_cancelled(sleep(SETTLE)).await.is_some() {
        if let Err(problem) = issuer.settle().await {
            tracing::debug!(what = problem.what, "revocations are united later");
        }
    }
}

/// The authority, opened by the file that lets this vault start by itself.
pub(super) fn unlock(config: &VaultConfig, papers: &Papers) -> Result<Authority, ProgramError> {
    let row = papers.authority().ok_or_else(|| config.no_vault())?;
    let closed = |error: farshore_pki::PkiError| {
        let advice = format!(
            "copy it from a machine where this vault ran, or make it anew from the recovery key: {}",
            config.command("vault recover-authority")
        );
        ProgramError::usage(format!("the authority's key stays closed: {error}"), advice)
    };
    let key = UnlockKey::load(&config.unlock_key()).map_err(closed)?;
    Authority::unseal(&row.cert_pem, &row.sealed_for_unlock, &key).map_err(closed)
}

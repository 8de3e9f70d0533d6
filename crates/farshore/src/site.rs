//! The site server as a program: enrolled once, then it serves its hosts from its warm copy
//! and tells the vault what they say; beside it, the warm copy of the vault itself. What is
//! decided, `farshore-site` decides.

mod config;
pub(crate) mod copies;
mod follow;
mod keys;
mod metrics;
mod neighbours;
mod place;
mod status;

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use farshore_channel::{Applicant, Keyring, Listener, enrol as enrol_at, enrolment_router};
use farshore_control::enrolment::Reach;
use farshore_env::{RealFiles, SystemClock};
use farshore_pki::{Bundle, Credentials, Identity, KeyRequest, RegistrationKey, Role};
use farshore_site::{
    Server, Timing,
    server::{enroller, router},
};
use farshore_types::SiteId;
use tokio_util::sync::CancellationToken;

use crate::{ProgramError, settings};
use copies::Copies;
use neighbours::Neighbours;
use place::{AtVault, Vault, VaultPlace, place_of, save_place};

pub use config::{DEFAULT_PATH, SAMPLE, SiteConfig};
pub use follow::{Followed, follow};
pub use keys::host_key;
pub use status::status;

/// The key of an enrolment that is under way.
const ENROLLING: &str = "enrolling.key";

/// Enrols this machine as a site's server. Cut and repeated with the same key, it goes on.
///
/// # Errors
/// A key that is none, or is not taken; files that cannot be written.
pub async fn enrol(config: &SiteConfig, key: &str) -> Result<Identity, ProgramError> {
    let advice = "copy the key as the vault showed it, whole";
    let key: RegistrationKey = key.trim().parse().map_err(|e| ProgramError::usage(format!("{e}"), advice))?;
    if key.role != Role::Site {
        let what = format!("this registration key is for a {}", key.role);
        return Err(ProgramError::usage(what, "a host is enrolled with `farshore-agent enrol`"));
    }
    fs::create_dir_all(&config.data_dir).map_err(ProgramError::io("create", &config.data_dir))?;
    if Bundle::exists(&config.data_dir) && !config.data_dir.join(ENROLLING).exists() {
        return already(&config.data_dir, &key);
    }
    let request = own_request(&config.data_dir)?;
    let reach = Reach { name: config.name(), addresses: config.addresses.clone(), ..Reach::default() };
    let applicant = Applicant { key: &key, request: &request, reach, version: env!("CARGO_PKG_VERSION") };
    let (bundle, identity) = enrol_at(&applicant).await?;
    let place = VaultPlace { address: key.address.clone(), id: key.issuer.1, former: Vec::new() };
    save_place(&config.data_dir, &place)?;
    bundle.save(&config.data_dir)?;
    fs::remove_file(config.data_dir.join(ENROLLING)).ok();
    Ok(identity)
}

/// What is enrolled already stays so; a key for another site is another matter.
fn already(dir: &Path, key: &RegistrationKey) -> Result<Identity, ProgramError> {
    let identity = Keyring::new(Credentials::load(dir)?)?.identity();
    match place_of(dir)? {
        place if place.id == key.issuer.1 => Ok(identity),
        place => {
            let what = format!("this machine serves site {} of the vault at {}", identity.id, place.address);
            Err(ProgramError::usage(
                what,
                format!("to serve another, use another data_dir than {}", dir.display()),
            ))
        }
    }
}

/// The key to be certified, durable before the first attempt: asked again with the same, the
/// vault gives the same answer.
fn own_request(dir: &Path) -> Result<KeyRequest, ProgramError> {
    let path = dir.join(ENROLLING);
    if let Ok(pem) = fs::read_to_string(&path) {
        return Ok(KeyRequest::of_key(&pem)?);
    }
    let request = KeyRequest::generate()?;
    settings::write_private(&path, &request.key_pem)?;
    Ok(request)
}

/// Keeps where the vault is now, on a machine that serves a site; where it was. None: no site
/// server was enrolled here.
///
/// # Errors
/// A file that cannot be written.
pub(crate) fn place_anew(config: &SiteConfig, address: &str) -> Result<Option<String>, ProgramError> {
    let Ok(before) = place_of(&config.data_dir) else { return Ok(None) };
    save_place(&config.data_dir, &before.moved(address))?;
    Ok(Some(before.address))
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// Whatever keeps it from beginning.
pub async fn serve(config: &SiteConfig, stop: CancellationToken) -> Result<(), ProgramError> {
    let dir = &config.data_dir;
    if !Bundle::exists(dir) {
        return Err(config.not_enrolled());
    }
    let keyring = Keyring::new(Credentials::load(dir)?)?;
    let vault = Vault::open(dir, &keyring)?;
    let bundle = Bundle::load(dir)?;
    bundle.check(SystemTime::now())?;
    let site = SiteId(keyring.identity().id);
    let copies = Arc::new(Copies::open(config, site));
    let journal = dir.join("journal");
    let opened = Server::open(
        site,
        Arc::new(RealFiles),
        &journal,
        Arc::new(vault.clone()),
        Arc::new(SystemClock::default()),
        Timing::default(),
    );
    let reach = Reach { name: config.name(), addresses: config.addresses.clone(), ..Reach::default() };
    let server = Arc::new(
        opened
            .map_err(|e| ProgramError::usage(e.to_string(), "look into the journal's directory"))?
            .with_keyring(keyring.clone(), dir)
            .with_renewer(Box::new(AtVault(vault.clone(), reach)))
            .beside(Arc::clone(&copies) as _)
            .reached_at(&config.public_address()),
    );
    let (server_of, keyring_of) = (Arc::clone(&server), keyring.clone());
    let neighbours = Neighbours { server: server_of, vault: vault.clone(), keyring: keyring_of, site };
    let members = router(&server).merge(neighbours.clone().router());
    let listener = Listener::bind(&config.listen, keyring.clone(), members).await?;
    let serving = listener
        .admit(&[Role::Host, Role::Site])
        .open_to_strangers(enrolment_router(enroller(&server)))
        .serve()?;
    let keys = keys::serve(config, &server, &keyring, &bundle, stop.clone())?;
    let told = status::serve(config, &server, stop.clone())?;
    if let Some(address) = &config.metrics_listen {
        let address = metrics::serve(address, &server, &stop).await?;
        tracing::info!(%address, "figures for Prometheus are at /metrics");
    }
    tracing::info!(site = %site, address = %serving.address(), vault = vault.place().address, "the site server answers");
    tokio::join!(
        Arc::clone(&server).run(stop.clone()),
        copies.keep(&vault, &stop),
        vault.follow_commands(&stop),
        neighbours.ask(&stop),
        stop.cancelled(),
    );
    serving.stop().await;
    keys.await.ok();
    told.await.ok();
    Ok(())
}

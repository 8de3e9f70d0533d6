//! The site server as a program: enrolled once, then it serves its hosts from its warm copy
//! and tells the vault what they say. What is decided, `farshore-site` decides.

mod config;
mod follow;
mod keys;
mod metrics;
mod status;

use std::{fs, path::Path, sync::Arc, time::SystemTime};

use farshore_channel::{Applicant, Client, Expected, Keyring, Listener, enrol as enrol_at, enrolment_router};
use farshore_control::enrolment::Reach;
use farshore_env::{RealFiles, SystemClock};
use farshore_pki::{Bundle, Credentials, Identity, KeyRequest, RegistrationKey, Role};
use farshore_site::{
    Server, Timing,
    server::{enroller, router},
};
use farshore_types::SiteId;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{ProgramError, settings};

pub use config::{DEFAULT_PATH, SAMPLE, SiteConfig};
pub use follow::{Followed, follow};
pub use keys::host_key;
pub use status::status;

/// The key of an enrolment that is under way.
const ENROLLING: &str = "enrolling.key";

/// Where the vault is, as the registration key said; kept beside the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct VaultPlace {
    address: String,
    id: Uuid,
}

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
    let place = VaultPlace { address: key.address.clone(), id: key.issuer.1 };
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

fn place_of(dir: &Path) -> Result<VaultPlace, ProgramError> {
    let (path, advice) = (dir.join("vault.toml"), "enrol this machine first: farshore site enrol --key KEY");
    let text = fs::read_to_string(&path)
        .map_err(|e| ProgramError::usage(format!("cannot read {}: {e}", path.display()), advice))?;
    toml::from_str(&text).map_err(|e| ProgramError::usage(format!("{}: {e}", path.display()), advice))
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

fn save_place(dir: &Path, place: &VaultPlace) -> Result<(), ProgramError> {
    let text =
        toml::to_string(place).map_err(|e| ProgramError::usage(e.to_string(), "report this as a fault"))?;
    settings::write_private(&dir.join("vault.toml"), &text)
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// Whatever keeps it from beginning.
pub async fn serve(config: &SiteConfig, stop: CancellationToken) -> Result<(), ProgramError> {
    let dir = &config.data_dir;
    let place = place_of(dir)?;
    let keyring = Keyring::new(Credentials::load(dir)?)?;
    let bundle = Bundle::load(dir)?;
    bundle.check(SystemTime::now())?;
    let site = SiteId(keyring.identity().id);
    let vault =
        Client::new(keyring.clone(), &place.address, Expected { role: Role::Vault, id: Some(place.id) });
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
            .with_renewer(Box::new((vault.clone(), reach)))
            .reached_at(&config.public_address()),
    );
    let listener = Listener::bind(&config.listen, keyring.clone(), router(&server)).await?;
    let serving =
        listener.admit(&[Role::Host]).open_to_strangers(enrolment_router(enroller(&server))).serve()?;
    let keys = keys::serve(config, &server, &keyring, &bundle, stop.clone())?;
    let told = status::serve(config, &server, stop.clone())?;
    if let Some(address) = &config.metrics_listen {
        let address = metrics::serve(address, &server, &stop).await?;
        tracing::info!(%address, "figures for Prometheus are at /metrics");
    }
    tracing::info!(site = %site, address = %serving.address(), vault = place.address, "the site server answers");
    Arc::clone(&server).run(stop.clone()).await;
    stop.cancelled().await;
    serving.stop().await;
    keys.await.ok();
    told.await.ok();
    Ok(())
}

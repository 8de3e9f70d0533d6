//! A site server with its vault.

use std::{path::Path, sync::Arc, time::Duration};

use farshore_channel::{Client, Expected, Keyring, Listener, Serving, enrolment_router};
use farshore_env::{RealFiles, SystemClock};
use farshore_pki::{Authority, Bundle, Identity, Lifetime, Role};
use farshore_site::{Server, Timing, server};
use farshore_types::SiteId;
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use crate::vault::Vault;

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const SITE: SiteId = SiteId(Uuid::from_u128(5));
const VAULT: Uuid = Uuid::from_u128(1);

const TIMING: Timing = Timing { poll: Duration::from_secs(2), report_gap: Duration::from_millis(50) };

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) vault: Arc<Vault>,
    vault_keyring: Keyring,
    pub(crate) vault_address: String,
    vault_serving: Option<Serving>,
    site_address: String,
    site: Option<Site>,
}

struct Site {
    server: Arc<Server>,
    serving: Serving,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

pub(crate) fn bundle(authority: &Authority, role: Role, id: Uuid, name: &str) -> Bundle {
    let identity = Identity { role, id, name: name.to_owned() };
    let lifetime = Lifetime::starting_now(Duration::from_secs(24 * 3600));
    let issued = authority.issue_to(&identity, &["127.0.0.1"], lifetime).unwrap();
    Bundle {
        key_pem: issued.key_pem,
        cert_pem: issued.cert_pem,
        authority_pem: issued.ca_pem,
        revoked_pem: String::new(),
    }
}

fn keyring(bundle: &Bundle, dir: &Path) -> Keyring {
    bundle.save(dir).unwrap();
    Keyring::load(dir).unwrap()
}

impl World {
    pub(crate) async fn new() -> World {
        let (dir, vault) = (tempfile::tempdir().unwrap(), Vault::new());
        let own = bundle(&vault.authority, Role::Vault, VAULT, "vault.example");
        let vault_keyring = keyring(&own, &dir.path().join("vault"));
        let own = bundle(&vault.authority, Role::Site, SITE.0, "site.example");
        own.save(&dir.path().join("site")).unwrap();
        let mut world = World {
            dir,
            vault,
            vault_keyring,
            vault_address: "127.0.0.1:0".to_owned(),
            vault_serving: None,
            site_address: "127.0.0.1:0".to_owned(),
            site: None,
        };
        world.start_vault().await;
        world.start_site().await;
        world
    }

    pub(crate) async fn start_vault(&mut self) {
        let serving = self.vault.listen(&self.vault_keyring, &self.vault_address).await;
        self.vault_address = serving.address().to_string();
        self.vault_serving = Some(serving);
    }

    pub(crate) async fn stop_vault(&mut self) {
        self.vault_serving.take().unwrap().stop().await;
    }

    pub(crate) async fn start_site(&mut self) {
        let dir = self.dir.path().join("site");
        let keyring = Keyring::load(&dir).unwrap();
        let vault = Expected { role: Role::Vault, id: Some(VAULT) };
        let above = Arc::new(Client::new(keyring.clone(), &self.vault_address, vault));
        let (files, clock) = (Arc::new(RealFiles), Arc::new(SystemClock::default()));
        let opened = Server::open(SITE, files, &dir.join("state"), above, clock, TIMING).unwrap();
        let server = Arc::new(opened.with_keyring(keyring.clone(), &dir));
        let members = server::router(&server);
        let listener = Listener::bind(&self.site_address, keyring, members).await.unwrap();
        let strangers = enrolment_router(server::enroller(&server));
        let serving = listener.admit(&[Role::Host]).open_to_strangers(strangers).serve().unwrap();
        self.site_address = serving.address().to_string();
        let stop = CancellationToken::new();
        let task = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&server).run(stop.clone())));
        self.site = Some(Site { server, serving, stop, task });
    }

    pub(crate) async fn stop_site(&mut self) {
        let Site { serving, stop, task, .. } = self.site.take().unwrap();
        stop.cancel();
        serving.stop().await;
        task.await.unwrap();
    }

    pub(crate) fn site_address(&self) -> &str {
        &self.site_address
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.site.as_ref().unwrap().server
    }

    /// A client of the site server for a host.
    pub(crate) fn client(&self, keyring: Keyring) -> Client {
        Client::new(keyring, &self.site_address, Expected { role: Role::Site, id: Some(SITE.0) })
    }
}

//! The agent as one value: its configuration, its replicas, its hypervisor, its sources.
//! Every command goes through [`Agent::handle`], whether it came over the socket or runs in
//! the command's own process. This module must never do a command's work itself.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use farshore_env::{Clock, Files, RealFiles, SystemClock};
use farshore_hypervisor::{Hypervisor, Kind, libvirt::Libvirt};
use farshore_link::Identity;
use farshore_replica::PointReader;
use farshore_types::HostId;
use tokio::sync::OnceCell;

use crate::{
    AgentError, Config, OpenReplica, Replicas, Sources, commands,
    control::{Observer, PointChoice, Reply, Request},
    kerberos::KerberosRole,
    managed::{Managed, Timing, Upstream},
    membership::Membership,
};

/// How often an embedded host that another process holds is tried again, and when: a
/// watchdog holds it for an instant after an agent's death, a command for as long as it runs.
const CONNECT_TRIES: u32 = 10;
const CONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Where the system tells which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

async fn connect(uri: String) -> Result<Arc<dyn Hypervisor>, AgentError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match Libvirt::open(&uri).await {
            Ok(host) => return Ok(Arc::new(host)),
            Err(error) if error.kind == Kind::Busy && tries < CONNECT_TRIES => {
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// An agent. Cheap to make: replicas and hypervisor are opened when first needed.
pub struct Agent {
    config: Config,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) clock: Arc<dyn Clock>,
    replicas: Arc<Replicas>,
    sources: Sources,
    hypervisor: OnceCell<Arc<dyn Hypervisor>>,
    /// Where a vault says what it is to do.
    managed: Option<Arc<Managed>>,
    membership: Option<Arc<Membership>>,
    /// Read when first needed, shared by all sessions.
    identity: Mutex<Option<Identity>>,
    kerberos: KerberosRole,
    /// Whether it goes on after a command.
    serving: bool,
    /// Which boot of the host this is.
    boot: String,
}

impl Agent {
    /// An agent on this host's files and clock.
    #[must_use]
    pub fn new(config: Config) -> Agent {
        let (files, clock) = (Arc::new(RealFiles), Arc::new(SystemClock::default()));
        let replicas = Replicas::new(&config.replica_dir, files.clone(), clock.clone());
        let replicas = Arc::new(replicas);
        let kerberos = KerberosRole::new(&config);
        Agent {
            kerberos,
            config,
            files,
            clock,
            replicas,
            sources: Sources::default(),
            hypervisor: OnceCell::new(),
            managed: None,
            membership: None,
            identity: Mutex::default(),
            serving: false,
            boot: std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned(),
        }
    }

    /// The same agent on another file system than the machine's own.
    #[must_use]
    pub fn with_files(mut self, files: Arc<dyn Files>) -> Agent {
        let replicas = Replicas::new(&self.config.replica_dir, files.clone(), self.clock.clone());
        (self.replicas, self.files) = (Arc::new(replicas), files);
        self
    }

    /// The same agent with another hypervisor than the configured one.
    #[must_use]
    pub fn with_hypervisor(mut self, hypervisor: Arc<dyn Hypervisor>) -> Agent {
        self.hypervisor = OnceCell::new_with(Some(hypervisor));
        self
    }

    /// The same agent after another boot of its host.
    #[must_use]
    pub fn after_boot(mut self, boot: &str) -> Agent {
        boot.clone_into(&mut self.boot);
        self
    }

    /// Tells one boot of this host from another.
    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// The same agent under a vault: as host `me`, told by the first of `upstreams` that
    /// answers. To be said last.
    ///
    /// # Errors
    /// Where what an earlier run kept cannot be read.
    pub fn managed_by(
        mut self,
        me: HostId,
        upstreams: Vec<Arc<dyn Upstream>>,
        timing: Timing,
    ) -> Result<Agent, AgentError> {
        let dir = self.config.state_dir.clone();
        let managed = Managed::open(me, upstreams, timing, Arc::clone(&self.files), dir, &self.boot)?;
        managed
            .places()
            .into_iter()
            .for_each(|(machine, place)| self.replicas.set_place(machine, Some(place)));
        self.managed = Some(Arc::new(managed));
        Ok(self)
    }

    /// The same agent as a member of a vault's, told by its site server. To be said last.
    ///
    /// # Errors
    /// As [`Agent::managed_by`].
    pub fn member(self, membership: Membership, timing: Timing) -> Result<Agent, AgentError> {
        let mut agent = self.managed_by(membership.host(), membership.upstreams(), timing)?;
        agent.membership = Some(Arc::new(membership));
        Ok(agent)
    }

    /// What it is to a vault, where it was enrolled.
    #[must_use]
    pub fn membership(&self) -> Option<&Arc<Membership>> {
        self.membership.as_ref()
    }

    /// What the vault wants, where there is one.
    #[must_use]
    pub fn managed(&self) -> Option<&Arc<Managed>> {
        self.managed.as_ref()
    }

    /// The same agent, but one that runs on after a command.
    #[must_use]
    pub fn serving(mut self) -> Agent {
        self.serving = true;
        self
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The replicas of this host.
    #[must_use]
    pub fn replicas(&self) -> &Arc<Replicas> {
        &self.replicas
    }

    /// What this host replicates.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether it runs on after a command.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.serving
    }

    /// The hypervisor, connected when first asked for: commands that need none must work
    /// where none runs.
    ///
    /// # Errors
    /// That it cannot be reached.
    pub async fn hypervisor(&self) -> Result<Arc<dyn Hypervisor>, AgentError> {
        self.hypervisor.get_or_try_init(|| connect(self.config.hypervisor_uri())).await.cloned()
    }

    /// Who this host is to others, as its files say now. Open sessions with whoever is not
    /// believed by them any more end.
    ///
    /// # Errors
    /// Whatever is wrong with the files.
    pub fn identity(&self) -> Result<Identity, AgentError> {
        let mut held = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = &self.config.identity_dir;
        match &*held {
            Some(identity) => {
                identity.reload(dir)?;
                Ok(identity.clone())
            }
            None => Ok(held.insert(Identity::load(dir)?).clone()),
        }
    }

    /// Kerberos as this host.
    pub(crate) fn kerberos(&self) -> &KerberosRole {
        &self.kerberos
    }

    /// Whether the hypervisor has been connected to.
    pub(crate) fn has_hypervisor(&self) -> bool {
        self.hypervisor.initialized()
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// [`AgentError`]; nothing that was whole before is lost by it.
    pub async fn handle(
        self: &Arc<Self>,
        request: Request,
        observer: &Observer,
    ) -> Result<Reply, AgentError> {
        match request {
            Request::Machines => commands::machines(self).await.map(Reply::Machines),
            Request::Status => commands::status(self).await.map(Reply::Status),
            Request::Points { machine } => {
                commands::points(self, machine.as_deref()).await.map(Reply::Points)
            }
            Request::Verify { machine, point } => {
                commands::verify(self, &machine, point, observer).await.map(Reply::Verified)
            }
            Request::Export(export) => commands::export(self, export, observer).await.map(Reply::Exported),
            Request::BringUp(wanted) => {
                commands::bring_up(self, &wanted, observer).await.map(Reply::BroughtUp)
            }
            Request::Adopt(wanted) => commands::adopt(self, wanted, observer).await.map(Reply::Adopted),
            Request::DropRescued { machine, points } => {
                commands::drop_rescued(self, &machine, points).await.map(Reply::RescuedDropped)
            }
            Request::Release { machine, point } => {
                commands::release(self, &machine, point).await.map(Reply::Released)
            }
            Request::Discard { machine, force } => {
                commands::discard(self, &machine, force).await.map(Reply::Discarded)
            }
            Request::StartHeld { machine } => {
                commands::start_held(self, &machine).await.map(Reply::HeldStarts)
            }
            Request::Replicate(wanted) => {
                commands::replicate(self, wanted, observer).await.map(Reply::Replicated)
            }
        }
    }

    /// Opens a point for reading.
    pub(crate) async fn reader(
        &self,
        replica: &Arc<OpenReplica>,
        point: PointChoice,
    ) -> Result<PointReader, AgentError> {
        let open = move |store: &mut farshore_replica::Replica| {
            let id = match point {
                PointChoice::Latest => store.newest()?.id,
                PointChoice::At(id) => id,
            };
            store.reader(id)
        };
        Ok(replica.run(open).await?)
    }

    /// Bytes free in a directory.
    pub(crate) fn free_space(&self, dir: &Path) -> Result<u64, AgentError> {
        self.files.free_space(dir).map_err(AgentError::io("look at", dir))
    }
}

//! The site server at work: one core, one journal, and the tasks around them. Whatever the
//! core decides is synced before it counts. This module must never decide anything itself.

mod hello;
mod hosts;
mod upward;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use farshore_channel::{Keyring, Renewer, Upkeep};
use farshore_control::{Term, copy::CopyStatus, report::Problem, sync::POLL_SECS_MAX};
use farshore_env::{Clock, Files};
use farshore_types::{HostId, SiteId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{Core, Event, Journal, JournalError, Record, above::Above};

pub use hosts::{enroller, router};

/// How often a site server does things.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a question to the vault is held where there is nothing new.
    pub poll: Duration,
    /// Shortest time between two reports to the vault.
    pub report_gap: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { poll: Duration::from_secs(POLL_SECS_MAX - 5), report_gap: Duration::from_secs(1) }
    }
}

/// How a site server stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// Which site.
    pub site: SiteId,
    /// Its version.
    pub version: String,
    /// The term of the vault that it follows; none before one has spoken.
    pub term: Option<u64>,
    /// Whether that vault answers now.
    pub vault_answers: bool,
    /// Hosts that it listens to.
    pub hosts: usize,
    /// Documents that it holds.
    pub documents: usize,
    /// Its warm copy of the vault; none: it has none.
    #[serde(default)]
    pub copy: Option<CopyStatus>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// What is measured of a site server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFigures {
    /// How it stands; none only before anything was asked.
    pub status: Option<SiteStatus>,
    /// Milliseconds since it was started.
    pub uptime_ms: u64,
    /// Milliseconds since the vault has answered, or since this server began.
    pub vault_silent_ms: u64,
    /// Milliseconds of the last round trip with the vault.
    pub vault_transit_ms: u64,
    /// Milliseconds since each host that has spoken to this run did.
    pub hosts: Vec<(HostId, u64)>,
    /// When its certificate ends, in milliseconds since the Unix epoch.
    pub certificate_until_ms: Option<u64>,
}

/// What the program does beside the server, and of which the server tells.
pub trait Beside: Send + Sync {
    /// The warm copy of the vault.
    fn copy(&self) -> Option<CopyStatus>;
    /// What is wrong with it.
    fn problems(&self) -> Vec<Problem>;
}

/// A site server that cannot go on.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal is another site's.
    #[error("{} is the journal of site {found}, and this is site {expected}: use a directory of its own", dir.display())]
    OtherSite {
        /// The journal's directory.
        dir: PathBuf,
        /// Whose it is.
        found: SiteId,
        /// Who this is.
        expected: SiteId,
    },
}

/// A site server.
pub struct Server {
    core: Mutex<Core>,
    /// One durable change at a time.
    journal: Arc<tokio::sync::Mutex<Journal>>,
    above: Arc<dyn Above>,
    clock: Arc<dyn Clock>,
    timing: Timing,
    /// Whose certificate and trust this is, and where they are kept; none in tests.
    keyring: Option<(Keyring, PathBuf)>,
    /// What keeps the certificate fresh, and by whom.
    upkeep: Option<(Upkeep, Box<dyn Renewer>)>,
    /// Where hosts reach it, as the vault is told.
    address: String,
    beside: Option<Arc<dyn Beside>>,
    /// When it began, by its clock that never jumps.
    begun: Duration,
    /// Documents or contact changed.
    changed: watch::Sender<u64>,
    /// A host said something.
    told: Notify,
    /// Some of that is waited for.
    urgent: Notify,
    transit_ms: Mutex<u64>,
}

impl Server {
    /// Takes up the journal in `dir`, or begins one.
    ///
    /// # Errors
    /// [`ServerError`].
    pub fn open(
        site: SiteId,
        files: Arc<dyn Files>,
        dir: &Path,
        above: Arc<dyn Above>,
        clock: Arc<dyn Clock>,
        timing: Timing,
    ) -> Result<Server, ServerError> {
        let (mut journal, records, opened) = Journal::open(files, dir)?;
        let now = clock.monotonic();
        let run = uuid::Uuid::new_v4().as_fields().0;
        let mut core = Core::new(site, run, now);
        if records.is_empty() {
            journal.append(&[Record::Site(site)])?;
        }
        for record in records {
            if let Record::Site(found) = record
                && found != site
            {
                return Err(ServerError::OtherSite { dir: dir.to_owned(), found, expected: site });
            }
            core.apply(record, now);
        }
        if opened.torn > 0 {
            tracing::warn!(bytes = opened.torn, "the end of the journal was torn by a crash and is dropped");
        }
        if opened.damaged {
            tracing::error!("the journal was damaged: registration keys that nobody used are withdrawn");
            let withdrawn = core.withdraw_unused();
            journal.append(&withdrawn)?;
            withdrawn.into_iter().for_each(|record| core.apply(record, now));
        }
        core.take_events();
        Ok(Server {
            core: Mutex::new(core),
            journal: Arc::new(tokio::sync::Mutex::new(journal)),
            above,
            clock,
            timing,
            keyring: None,
            upkeep: None,
            address: String::new(),
            beside: None,
            begun: now,
            changed: watch::channel(0).0,
            told: Notify::new(),
            urgent: Notify::new(),
            transit_ms: Mutex::new(0),
        })
    }

    /// The same with a keyring, kept in `dir`, that follows the vault's trust document.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring, dir: &Path) -> Server {
        Server { keyring: Some((keyring, dir.to_owned())), ..self }
    }

    /// The same, its certificate being renewed by this one.
    #[must_use]
    pub fn with_renewer(self, renewer: Box<dyn Renewer>) -> Server {
        let upkeep = self
            .keyring
            .as_ref()
            .map(|(keyring, dir)| (Upkeep::new(keyring.clone(), dir, Arc::clone(&self.clock)), renewer));
        Server { upkeep, ..self }
    }

    /// The same, telling the vault that hosts reach it at `address`, `host:port`.
    #[must_use]
    pub fn reached_at(self, address: &str) -> Server {
        Server { address: address.to_owned(), ..self }
    }

    /// The same, telling of what the program does beside it.
    #[must_use]
    pub fn beside(self, beside: Arc<dyn Beside>) -> Server {
        Server { beside: Some(beside), ..self }
    }

    /// The highest term that it follows; none before a vault has spoken.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.core().term()
    }

    /// Whether the vault answers now.
    #[must_use]
    pub fn is_in_contact(&self) -> bool {
        self.core().is_in_contact(self.clock.monotonic())
    }

    /// Talks to the vault, keeps its certificate fresh and watches the clock until stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let renewal = async {
            if let Some((upkeep, renewer)) = &self.upkeep {
                upkeep.keep_renewed(&**renewer, &stop).await;
            }
        };
        tokio::join!(
            upward::documents(&self, &stop),
            upward::reports(&self, &stop),
            hello::hellos(&self, &stop),
            self.watch_clock(&stop),
            renewal
        );
    }

    /// How it stands, for people at this site.
    #[must_use]
    pub fn status(&self) -> SiteStatus {
        let (other, copy) = (self.other_problems(), self.beside.as_ref().and_then(|beside| beside.copy()));
        let (core, now) = (self.core(), self.clock.monotonic());
        SiteStatus {
            site: core.site(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            term: core.term().map(|term| term.number),
            vault_answers: core.is_in_contact(now),
            hosts: core.hosts().count(),
            documents: core.documents().count(),
            copy,
            problems: [core.problems(now), core.own_problems(now), other].concat(),
        }
    }

    /// What is measured of it, now.
    #[must_use]
    pub fn figures(&self) -> SiteFigures {
        let status = self.status();
        let (core, now) = (self.core(), self.clock.monotonic());
        let uptime = now.saturating_sub(self.begun);
        SiteFigures {
            status: Some(status),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            vault_silent_ms: core.vault_silent_ms(now),
            vault_transit_ms: *self.transit_ms.lock().unwrap_or_else(PoisonError::into_inner),
            hosts: core.silences(now),
            certificate_until_ms: self.upkeep.as_ref().map(|(upkeep, _)| upkeep.until_ms()),
        }
    }

    /// What is wrong with its certificate and its copy: told to people here, and to the vault.
    fn other_problems(&self) -> Vec<Problem> {
        let upkeep = self.upkeep.iter().flat_map(|(upkeep, _)| upkeep.problems());
        upkeep.chain(self.beside.iter().flat_map(|beside| beside.problems())).collect()
    }

    /// Lets hosts that wait look for what is new.
    fn wake_hosts(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Durable, then in force. `decide` is asked with nobody else changing anything.
    async fn commit<T>(
        &self,
        decide: impl FnOnce(&mut Core) -> (Vec<Record>, T),
        apply: impl FnOnce(&mut Core, Vec<Record>, &mut T, Duration),
    ) -> Result<T, JournalError> {
        let mut journal = Arc::clone(&self.journal).lock_owned().await;
        let (records, mut outcome) = decide(&mut self.core());
        let synced = tokio::task::spawn_blocking(move || {
            journal.append(&records)?;
            Ok::<_, JournalError>((journal, records))
        });
        let (mut journal, records) = joined(synced.await)?;
        let now = self.clock.monotonic();
        let due = {
            let mut core = self.core();
            apply(&mut core, records, &mut outcome, now);
            journal.is_due().then(|| {
                core.forget_old(self.clock.wall_ms());
                core.records()
            })
        };
        if let Some(whole) = due {
            let rewritten = tokio::task::spawn_blocking(move || journal.rewrite(&whole));
            if let Err(error) = joined(rewritten.await) {
                tracing::warn!(%error, "the journal is not written anew; it grows on");
            }
        }
        Ok(outcome)
    }

    async fn watch_clock(&self, stop: &CancellationToken) {
        const LOOK: Duration = Duration::from_secs(1);
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.core().tick(self.clock.monotonic());
            self.tell_events();
        }
    }

    /// What people are to learn goes to the log; what is so now, [`Server::status`] says.
    fn tell_events(&self) {
        for event in self.core().take_events() {
            match event {
                Event::VaultSilent => tracing::error!("the vault is silent; replication goes on without it"),
                Event::VaultBack => tracing::info!("the vault answers again"),
                Event::HostSilent(host) => tracing::warn!(%host, "a host is silent"),
                Event::HostBack(host) => tracing::info!(%host, "a host speaks again"),
                Event::NewTerm(term) => {
                    tracing::info!(term = term.number, vault = %term.vault, "a vault speaks");
                }
                Event::NotFollowed { term, why } => {
                    tracing::error!(term = term.number, vault = %term.vault, why, "a vault is not followed");
                }
            }
        }
    }
}

/// The result of work on another thread; its panic goes on here.
fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

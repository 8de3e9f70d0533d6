//! Where the vault is, as this site server knows it: kept beside the certificate, told anew by
//! a command, by a promotion on this machine, or by another site's server, and followed while
//! the server runs. This module must never decide which vault is the right one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use farshore_channel::{ChannelError, Client, Expected, Keyring, Renewer};
use farshore_control::{
    copy::{CopyAsk, CopyPiece},
    enrolment::{Enrolled, Enrolment, Introduction, Reach},
    hello::{HelloReply, SiteHello},
    report::Problem,
    sync::{Documents, Poll, SiteReply, SiteReport},
};
use farshore_pki::{Bundle, Role};
use farshore_site::Above;
use farshore_types::SiteId;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{ProgramError, settings};

/// How often it is looked whether a command has told another place.
const LOOK: Duration = Duration::from_secs(1);
/// Most places of before that are remembered.
const FORMER_MAX: usize = 8;

/// Where the vault is, first as the registration key said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VaultPlace {
    pub(super) address: String,
    /// Who it is: that never changes.
    pub(super) id: Uuid,
    /// Where it was before: a vault that comes back there is to learn that it was superseded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) former: Vec<String>,
}

impl VaultPlace {
    /// The same vault elsewhere.
    pub(super) fn moved(&self, address: &str) -> VaultPlace {
        let mut former: Vec<String> = self.former.iter().filter(|one| *one != address).cloned().collect();
        if self.address != address && !former.contains(&self.address) {
            former.push(self.address.clone());
        }
        let surplus = former.len().saturating_sub(FORMER_MAX);
        former.drain(..surplus);
        VaultPlace { address: address.to_owned(), id: self.id, former }
    }
}

pub(super) fn place_of(dir: &Path) -> Result<VaultPlace, ProgramError> {
    let (path, advice) = (file_in(dir), "enrol this machine first: farshore site enrol --key KEY");
    let text = fs::read_to_string(&path)
        .map_err(|e| ProgramError::usage(format!("cannot read {}: {e}", path.display()), advice))?;
    toml::from_str(&text).map_err(|e| ProgramError::usage(format!("{}: {e}", path.display()), advice))
}

pub(super) fn save_place(dir: &Path, place: &VaultPlace) -> Result<(), ProgramError> {
    let text =
        toml::to_string(place).map_err(|e| ProgramError::usage(e.to_string(), "report this as a fault"))?;
    settings::write_private(&file_in(dir), &text)
}

fn file_in(dir: &Path) -> PathBuf {
    dir.join("vault.toml")
}

/// The vault as this server reaches it, wherever it is now; clones are the same.
#[derive(Clone)]
pub(super) struct Vault {
    dir: PathBuf,
    keyring: Keyring,
    now: watch::Sender<Client>,
    place: Arc<Mutex<VaultPlace>>,
    neighbours: Arc<Mutex<Vec<(SiteId, String)>>>,
}

impl Vault {
    /// As the files in `dir` say.
    ///
    /// # Errors
    /// A machine that is not enrolled.
    pub(super) fn open(dir: &Path, keyring: &Keyring) -> Result<Vault, ProgramError> {
        let place = place_of(dir)?;
        let now = watch::channel(client(keyring, &place, &place.address)).0;
        let neighbours = known_neighbours(dir);
        Ok(Vault {
            dir: dir.to_owned(),
            keyring: keyring.clone(),
            now,
            place: Arc::new(Mutex::new(place)),
            neighbours: Arc::new(Mutex::new(neighbours)),
        })
    }

    pub(super) fn place(&self) -> VaultPlace {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The other sites' servers, as the vault has said.
    pub(super) fn neighbours(&self) -> Vec<(SiteId, String)> {
        self.neighbours.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The vault at a place where it was before.
    pub(super) fn at(&self, address: &str) -> Client {
        client(&self.keyring, &self.place(), address)
    }

    /// It is elsewhere now: kept, then followed.
    ///
    /// # Errors
    /// A file that cannot be written; then nothing changes.
    pub(super) fn move_to(&self, address: &str) -> Result<(), ProgramError> {
        let place = self.place().moved(address);
        save_place(&self.dir, &place)?;
        self.follow(place);
        Ok(())
    }

    fn follow(&self, place: VaultPlace) {
        let before = self.place();
        if before == place {
            return;
        }
        if before.address != place.address {
            tracing::warn!(before = before.address, now = place.address, "the vault is elsewhere now");
        }
        self.now.send_replace(client(&self.keyring, &place, &place.address));
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Follows what commands on this machine say, until stopped.
    pub(super) async fn follow_commands(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            // It is written at once, whole: what cannot be read is not there.
            if let Ok(place) = place_of(&self.dir) {
                self.follow(place);
            }
        }
    }

    fn client(&self) -> Client {
        self.now.borrow().clone()
    }

    fn heard_of(&self, neighbours: &[(SiteId, String)]) {
        if neighbours.is_empty() || self.neighbours() == neighbours {
            return;
        }
        neighbours.clone_into(&mut self.neighbours.lock().unwrap_or_else(PoisonError::into_inner));
        let text = serde_json::to_string(neighbours).unwrap_or_default();
        if let Err(error) = settings::write_private(&self.dir.join(NEIGHBOURS), &text) {
            tracing::warn!(%error, "the other sites' servers are not remembered over a restart");
        }
    }
}

/// The other sites' servers.
const NEIGHBOURS: &str = "neighbours.json";

fn known_neighbours(dir: &Path) -> Vec<(SiteId, String)> {
    let text = fs::read_to_string(dir.join(NEIGHBOURS)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn client(keyring: &Keyring, place: &VaultPlace, address: &str) -> Client {
    Client::new(keyring.clone(), address, Expected { role: Role::Vault, id: Some(place.id) })
}

#[async_trait]
impl Above for Vault {
    /// A question that is held is asked anew where the vault is now.
    async fn poll(&self, poll: &Poll) -> Result<Documents, ChannelError> {
        let (client, mut moved) = (self.client(), self.now.subscribe());
        tokio::select! {
            answer = client.poll(poll) => answer,
            _ = moved.changed() => Err(ChannelError::Broken {
                peer: client.address().to_owned(),
                why: "the vault is elsewhere now".to_owned(),
            }),
        }
    }

    async fn report(&self, report: &SiteReport) -> Result<SiteReply, ChannelError> {
        self.client().report(report).await
    }

    async fn introduce(&self, introduction: &Introduction) -> Result<Enrolled, ChannelError> {
        self.client().introduce(introduction).await
    }

    async fn enrol(&self, enrolment: &Enrolment) -> Result<Enrolled, ChannelError> {
        self.client().enrol(enrolment).await
    }

    async fn hello(&self, hello: &SiteHello) -> Result<HelloReply, ChannelError> {
        let reply = self.client().hello(hello).await?;
        self.heard_of(&reply.neighbours);
        Ok(reply)
    }

    async fn copy(&self, asked: &CopyAsk) -> Result<CopyPiece, ChannelError> {
        self.client().copy(asked).await
    }
}

/// Has the site server's own certificate renewed, wherever the vault is.
pub(super) struct AtVault(pub(super) Vault, pub(super) Reach);

#[async_trait]
impl Renewer for AtVault {
    async fn renewed(&self) -> Result<Bundle, Problem> {
        (self.0.client(), self.1.clone()).renewed().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_remembers_where_the_vault_was_and_not_that_it_is_there() {
        let first = VaultPlace { address: "a:1".to_owned(), id: Uuid::nil(), former: Vec::new() };
        let second = first.moved("b:1");
        assert_eq!((second.address.as_str(), &second.former[..]), ("b:1", &["a:1".to_owned()][..]));
        assert_eq!(second.moved("b:1"), second, "told again");
        let back = second.moved("a:1");
        assert_eq!((back.address.as_str(), &back.former[..]), ("a:1", &["b:1".to_owned()][..]));
        let many = (0..20).fold(first, |place, n| place.moved(&format!("v{n}:1")));
        assert_eq!(many.former.len(), FORMER_MAX);
    }
}

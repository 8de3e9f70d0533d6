//! The target's role: takes sessions from sources and puts what they send into replicas.
//! This module must never know how bytes travel, nor what a machine is.

mod digests;
mod receiver;
mod refusal;
mod upkeep;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use farshore_link::{Caller, Sink, Welcomed};
use farshore_replica::{Phase, Replica, ReplicaError};
use farshore_wire::{Acceptance, DiskSize, Hello, Refusal, RefusalCode, SessionId, limits::WINDOW_DEFAULT};

use crate::{
    Agent, OpenReplica, Replicas,
    config::CheckReceived,
    managed::{Managed, check_proof},
    probe,
};
use receiver::ReplicaReceiver;
pub(crate) use upkeep::upkeep;

/// Consents to sessions by the list of peers and by what each replica knows.
pub struct ReplicaSink {
    replicas: Arc<Replicas>,
    peers: Vec<String>,
    check: CheckReceived,
    /// Who can say what runs on this host.
    agent: Option<Arc<Agent>>,
}

impl ReplicaSink {
    /// Takes sessions of `peers` (empty: all that were authenticated) into `replicas`.
    #[must_use]
    pub fn new(replicas: Arc<Replicas>, peers: Vec<String>) -> ReplicaSink {
        ReplicaSink { replicas, peers, check: CheckReceived::default(), agent: None }
    }

    /// The same for an agent: it checks what the agent's configuration says, and answers
    /// other hosts that ask what runs on this one.
    #[must_use]
    pub fn of(agent: &Arc<Agent>) -> ReplicaSink {
        let config = agent.config();
        ReplicaSink {
            replicas: Arc::clone(agent.replicas()),
            peers: config.peers.clone(),
            check: config.check_received,
            agent: Some(Arc::clone(agent)),
        }
    }

    /// A host to which this one replicates may ask, even if it may not replicate to here.
    fn check_asker(&self, peer: &Caller) -> Result<(), Refusal> {
        if self.managed().is_some_and(|managed| managed.may_ask(peer)) {
            return Ok(());
        }
        let targets = self.agent.iter().flat_map(|agent| &agent.config().replicate);
        match targets.map(|entry| &entry.target.server_name).any(|name| *name == peer.name) {
            true => Ok(()),
            false => self.check_peer(peer),
        }
    }

    fn managed(&self) -> Option<&Arc<Managed>> {
        self.agent.as_ref()?.managed()
    }

    /// Under a vault its documents say who may write; else the list of peers does.
    async fn check_source(&self, peer: &Caller, hello: &Hello) -> Result<(), Refusal> {
        match (&self.agent, self.managed()) {
            (Some(agent), Some(managed)) => {
                let known = self.peers.contains(&peer.name);
                managed.admit(agent, peer, hello, known).await
            }
            (agent, _) => {
                self.check_peer(peer)?;
                agent.as_ref().map_or(Ok(()), |agent| check_proof(agent.config(), peer))
            }
        }
    }

    fn check_peer(&self, peer: &Caller) -> Result<(), Refusal> {
        if self.peers.is_empty() || self.peers.contains(&peer.name) {
            return Ok(());
        }
        let message = format!("host '{peer}' is not among the peers of this target");
        let advice = "add its name to `peers` in the target's configuration";
        Err(Refusal::new(RefusalCode::NotAuthorised, message, advice))
    }
}

#[async_trait]
impl Sink for ReplicaSink {
    async fn authorise(&self, peer: &Caller, hello: &Hello) -> Result<(), Refusal> {
        if probe::is_question(hello) {
            self.check_asker(peer)?;
            return Err(probe::answer(self.agent.as_ref(), hello.machine).await);
        }
        self.check_source(peer, hello).await?;
        let Some(replica) = self.replicas.get(hello.machine).await.map_err(|e| refusal::of_agent(&e))? else {
            return Ok(());
        };
        let arriving = hello.epoch;
        replica
            .run(move |store| match (store.phase(), Refusal::for_epoch(&store.epoch(), &arriving)) {
                (_, Some(refusal)) => Err(refusal),
                (Phase::Receiving, None) => Ok(()),
                (Phase::BroughtUp { point } | Phase::BringingUp { point }, None) => {
                    let machine = store.name().to_owned();
                    Err(refusal::of(&ReplicaError::BroughtUp { machine, point }))
                }
            })
            .await
    }

    async fn letter(&self, peer: &Caller, letter: Bytes) -> Result<Bytes, Refusal> {
        match self.managed() {
            Some(managed) => managed.answer(peer, letter).await,
            None => {
                let why = "this host is under no vault, and answers no letters";
                Err(Refusal::new(RefusalCode::NotAuthorised, why, "enrol it"))
            }
        }
    }

    async fn hello(&self, peer: &Caller, hello: &Hello) -> Result<Welcomed, Refusal> {
        let replica = self.replicas.get_or_create(hello.machine).await.map_err(|e| refusal::of_agent(&e))?;
        let (epoch, name, host) = (hello.epoch, hello.machine_name.clone(), peer.name.clone());
        let shared = Arc::clone(&replica);
        let accept = move |store: &mut Replica| {
            let accepted = accept(&shared, store, &epoch, &name)?;
            store.set_writer(&host)?;
            Ok(accepted)
        };
        let acceptance = replica.run(accept).await.map_err(|e| refusal::of(&e))?;
        let receiver =
            ReplicaReceiver::new(replica, hello.epoch, peer.clone(), self.check, acceptance.held.as_ref());
        Ok(Welcomed { acceptance, receiver: Box::new(receiver) })
    }
}

/// Counts the session and says where the replica stands.
fn accept(
    replica: &OpenReplica,
    store: &mut Replica,
    epoch: &farshore_types::Epoch,
    name: &str,
) -> Result<Acceptance, ReplicaError> {
    let before = store.epoch();
    let session = store.begin_session(epoch, name)?;
    // A newer owner begins anew: the store has given the old one's cycle up.
    let held = replica.held().take().filter(|_| before == *epoch);
    let disks = store.disks().into_iter().map(|(key, size)| DiskSize { key, size }).collect();
    Ok(Acceptance {
        session: SessionId(session),
        held_epoch: Some(store.epoch()),
        last: store.last(),
        held,
        window: WINDOW_DEFAULT,
        disks,
        free_space: store.free_space()?,
    })
}

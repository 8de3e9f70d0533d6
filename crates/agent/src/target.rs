//! The target's role: takes sessions from sources and puts what they send into replicas.
//! This module must never know how bytes travel, nor what a machine is.

mod digests;
mod receiver;
mod refusal;
mod upkeep;

use std::sync::Arc;

use async_trait::async_trait;
use farshore_link::{PeerName, Sink, Welcomed};
use farshore_replica::{Phase, Replica, ReplicaError};
use farshore_wire::{Acceptance, DiskSize, Hello, Refusal, RefusalCode, SessionId, limits::WINDOW_DEFAULT};

use crate::{OpenReplica, Replicas};
use receiver::ReplicaReceiver;
pub(crate) use upkeep::upkeep;

/// Consents to sessions by the list of peers and by what each replica knows.
pub struct ReplicaSink {
    replicas: Arc<Replicas>,
    peers: Vec<String>,
}

impl ReplicaSink {
    /// Takes sessions of `peers` (empty: all that were authenticated) into `replicas`.
    #[must_use]
    pub fn new(replicas: Arc<Replicas>, peers: Vec<String>) -> ReplicaSink {
        ReplicaSink { replicas, peers }
    }

    fn check_peer(&self, peer: &PeerName) -> Result<(), Refusal> {
        if self.peers.is_empty() || self.peers.contains(&peer.0) {
            return Ok(());
        }
        let message = format!("host '{peer}' is not among the peers of this target");
        let advice = "add its name to `peers` in the target's configuration";
        Err(Refusal::new(RefusalCode::NotAuthorised, message, advice))
    }
}

#[async_trait]
impl Sink for ReplicaSink {
    async fn authorise(&self, peer: &PeerName, hello: &Hello) -> Result<(), Refusal> {
        self.check_peer(peer)?;
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

    async fn hello(&self, _: &PeerName, hello: &Hello) -> Result<Welcomed, Refusal> {
        let replica = self.replicas.get_or_create(hello.machine).await.map_err(|e| refusal::of_agent(&e))?;
        let (epoch, name) = (hello.epoch, hello.machine_name.clone());
        let shared = Arc::clone(&replica);
        let accept = move |store: &mut Replica| accept(&shared, store, &epoch, &name);
        let acceptance = replica.run(accept).await.map_err(|e| refusal::of(&e))?;
        let disks = acceptance.held.as_ref().map_or(Vec::new(), |held| held.open.disks.clone());
        Ok(Welcomed { acceptance, receiver: Box::new(ReplicaReceiver::new(replica, disks)) })
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

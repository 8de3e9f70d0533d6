//! What replicas need besides cycles: publishing, pruning, freeing space. Done between
//! cycles and never before an ack. This module must never touch what a point shows.

use std::{sync::Arc, time::Duration};

use farshore_replica::{Phase, Replica, ReplicaError, Retention};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{OpenReplica, Replicas, managed::Pruning};

/// How often replicas are looked at.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(3);
/// How often points are pruned: each time costs a plan over all points.
const PRUNE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a cycle whose session was lost is kept for it: longer than any source goes on
/// trying to heal a cut, and short against the day on which the source is lost for good.
const HELD_MAX: Duration = Duration::from_secs(600);

/// Keeps the open replicas in shape until stopped.
pub(crate) async fn upkeep(replicas: Arc<Replicas>, retention: Retention, stop: CancellationToken) {
    let mut tick = interval(UPKEEP_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pruned = Instant::now();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let prune = (pruned.elapsed() >= PRUNE_INTERVAL).then_some(retention);
        if prune.is_some() {
            pruned = Instant::now();
        }
        for replica in replicas.opened().await {
            let prune = match replica.pruning() {
                Pruning::Configured => prune,
                Pruning::By(retention) => prune.map(|_| retention),
                Pruning::Never => None,
            };
            if replica.give_up_held(HELD_MAX).await {
                tracing::info!(machine = %replica.machine(), "the cycle of a lost session is given up");
            }
            look_after(&replica, prune).await;
        }
    }
}

/// Each step takes the store for itself, so that a cycle waits for one step at most.
async fn look_after(replica: &Arc<OpenReplica>, prune: Option<Retention>) {
    match replica.run(|store| store.phase()).await {
        Phase::Receiving => {}
        Phase::BroughtUp { .. } => return,
        Phase::BringingUp { point } => {
            // The command failed midway; what is left of it must not wait for the next open.
            // While one is at work, it has the machine for itself.
            let Some(_alone) = replica.try_alone() else { return };
            tracing::warn!(machine = %replica.machine(), %point, "finishing a bring-up that was cut");
            return tell(replica, "finishing a bring-up", replica.run(Replica::resume_bring_up).await);
        }
    }
    if replica.take_sealed() {
        tell(replica, "publishing", replica.run(|store| store.publish_if_due().map(drop)).await);
    } else {
        tell(replica, "freeing space", replica.run(|store| store.release_unread().map(drop)).await);
    }
    if let Some(retention) = prune {
        tell(replica, "pruning", replica.run(move |store| store.prune(&retention).map(drop)).await);
    }
}

/// A failed step costs no point; it is tried again by itself.
fn tell(replica: &OpenReplica, what: &str, result: Result<(), ReplicaError>) {
    match result {
        // Brought up since it was asked: nothing is to be done.
        Ok(()) | Err(ReplicaError::BroughtUp { .. }) => {}
        Err(error) => tracing::error!(machine = %replica.machine(), %error, "{what} failed"),
    }
}

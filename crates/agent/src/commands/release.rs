//! `release`: a point that is kept because no other host ever had what it has goes by retention again,
//! once a person has what they need of it. This module must never release what is held for anything
//! else.

use std::sync::Arc;

use farshore_replica::{Pin, PointInfo, Replica};
use farshore_types::PointId;

use crate::{Agent, AgentError, control::Released};

/// Who holds the points that keep what was written on this host alone.
pub(crate) const OWN_WRITES: &str = "own writes of before";

pub(crate) async fn release(
    agent: &Arc<Agent>,
    machine: &str,
    point: PointId,
) -> Result<Released, AgentError> {
    let replica = agent.replicas().find(machine).await?;
    let _alone = replica.alone().await;
    let release = move |store: &mut Replica| {
        let released = is_own(&store.point(point)?);
        if released {
            store.unpin(&Pin { point, holder: OWN_WRITES.to_owned() })?;
        }
        let kept = own_writes(&store.points());
        Ok::<_, AgentError>(Released { machine: store.name().to_owned(), point, released, kept })
    };
    replica.run(release).await
}

/// Which of these points keep what was written on this host alone.
pub(crate) fn own_writes(points: &[PointInfo]) -> Vec<PointId> {
    points.iter().filter(|point| is_own(point)).map(|point| point.id).collect()
}

fn is_own(point: &PointInfo) -> bool {
    point.pinned_by.iter().any(|by| by == OWN_WRITES)
}

//! `verify`: reads every byte of a point and checks every digest. This module must never
//! repair anything.

use std::{sync::Arc, time::Instant};

use farshore_types::CLUSTER_BYTES;

use crate::{
    Agent, AgentError,
    control::{Observer, PointChoice, Verified},
    replicas::blocking,
};

pub(crate) async fn verify(
    agent: &Arc<Agent>,
    machine: &str,
    point: PointChoice,
    observer: &Observer,
) -> Result<Verified, AgentError> {
    let start = Instant::now();
    let replica = agent.replicas().find(machine).await?;
    let stop = observer.stop.clone();
    let reader = agent.reader(&replica, point).await?.stopping_when(move || stop.is_cancelled());
    let id = reader.id();
    let mut advance = observer.advance(format!("verifying point {id}"));
    let seen = blocking(move || reader.verify(&mut |done, total| advance.at(done, total))).await?;
    Ok(Verified {
        machine: replica.run(|store| store.name().to_owned()).await,
        point: id,
        checked: seen.clusters * CLUSTER_BYTES,
        zeros: seen.zeros * CLUSTER_BYTES,
        read: seen.stored,
        took_ms: millis(start),
    })
}

/// Milliseconds since an instant.
pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

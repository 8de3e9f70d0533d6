//! `drop-rescued`: points that a damaged chain has lost, and that images still show to stock
//! tools, are given up and their space is freed;
//! without a choice of points also what was set aside. This module must never touch other points.

use std::sync::Arc;

use farshore_types::PointId;

use crate::{Agent, AgentError, control::RescuedDropped};

pub(crate) async fn drop_rescued(
    agent: &Arc<Agent>,
    machine: &str,
    points: Vec<PointId>,
) -> Result<RescuedDropped, AgentError> {
    let replica = agent.replicas().find(machine).await?;
    let _alone = replica.alone().await;
    let rescued = replica.run(|store| store.rescued()).await;
    if let Some(other) = points.iter().find(|point| !rescued.contains(point)) {
        let all = rescued.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(AgentError::Request {
            what: format!("point {other} is not a rescued point of machine '{machine}'"),
            advice: if all.is_empty() { "there are none".to_owned() } else { format!("there are: {all}") },
        });
    }
    let all = points.is_empty();
    let points = if all { rescued } else { points };
    let gone = points.clone();
    let drop = move |store: &mut farshore_replica::Replica| {
        store.drop_rescued(&gone)?;
        if all {
            store.drop_set_aside()?;
        }
        Ok::<_, AgentError>((store.name().to_owned(), store.rescued()))
    };
    let (machine, left) = replica.run(drop).await?;
    Ok(RescuedDropped { machine, points, left })
}

//! Replicas: what a host says of one, and what its machine's protection makes of it.

use farshore_control::report::{ReplicaPhase, ReplicaState};
use farshore_types::HostId;
use farshore_vault::Core;

use super::host_name;
use crate::views::{ReplicaRole, ReplicaView};

pub(in crate::vault) fn replica(core: &Core, host: HostId, state: &ReplicaState) -> ReplicaView {
    ReplicaView {
        machine: state.machine,
        name: state.name.clone(),
        host: host_name(core, host),
        host_id: host,
        role: role_of(core, host, state),
        epoch: state.epoch.number,
        newest: state.newest.map(|point| point.id),
        points: state.points,
        stored: state.stored,
        faults: state.faults.clone(),
    }
}

/// What a replica is to its machine's protection.
pub(in crate::vault) fn role_of(core: &Core, host: HostId, state: &ReplicaState) -> ReplicaRole {
    let row = core.protection(state.machine).filter(|row| row.is_live());
    let leaving = row.and_then(|row| core.leaving(row));
    match (row, leaving) {
        _ if matches!(state.phase, ReplicaPhase::BroughtUp { .. }) => ReplicaRole::BroughtUp,
        (Some(row), _) if row.target() == host => ReplicaRole::Target,
        (_, Some(leaving)) if leaving.host == host => ReplicaRole::Leaving,
        _ => ReplicaRole::Aside,
    }
}

//! What guests were asked: to shut down, for a move. That cannot be taken back where the move is given
//! up, and a guest may heed it late; then it is started again. For how long that is so is the time
//! that a guest has to shut down, since it was asked last, or since this run began. This module must
//! never stop or start anything.

use std::sync::Arc;

use farshore_control::ownership::Lineage;
use farshore_protection::Want;
use farshore_types::{Epoch, MachineId};
use tokio::time::Instant;

use super::{
    super::{Managed, ledger::Ledger, locked},
    look::Seen,
    station::Station,
};
use crate::{Agent, AgentError};

impl Managed {
    /// The guest is about to be asked: durable before it may go down.
    pub(super) async fn asks(self: &Arc<Self>, seen: &Seen) -> Result<(), AgentError> {
        self.is_asked_now(seen.protection.machine);
        self.note_asked(seen, Some(seen.lineage.epoch)).await
    }

    /// It may have been asked until now.
    pub(super) fn is_asked_now(&self, machine: MachineId) {
        locked(&self.acting).asked.insert(machine, Instant::now());
    }

    /// Whether it may still go down for that.
    pub(super) fn may_heed(&self, agent: &Agent, lineage: &Lineage, station: &Station) -> bool {
        let mut acting = locked(&self.acting);
        station.asked == Some(lineage.epoch)
            && acting.asked.entry(station.machine).or_insert_with(Instant::now).elapsed()
                < agent.config().shutdown_deadline.0
    }

    /// What was asked counts no more: the machine was started since.
    pub(super) async fn starts_unasked(self: &Arc<Self>, seen: &Seen) -> Result<(), AgentError> {
        self.note_asked(seen, None).await
    }

    async fn note_asked(self: &Arc<Self>, seen: &Seen, asked: Option<Epoch>) -> Result<(), AgentError> {
        if seen.station.asked == asked {
            return Ok(());
        }
        let machine = seen.protection.machine;
        let note = move |ledger: &mut Ledger| {
            ledger.station_mut(machine).asked = asked;
            ((), true)
        };
        self.change(note).await
    }
}

/// What a guest has not heeded for so long it does not heed any more.
pub(super) async fn let_go(managed: &Arc<Managed>, seen: &Seen) -> Result<(), AgentError> {
    let over = !seen.here.asked && !matches!(seen.mine, Want::HandOver { .. });
    if over { managed.starts_unasked(seen).await } else { Ok(()) }
}

//! One live session per machine: a newer one ends the older and waits for its work.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use farshore_types::MachineId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<MachineId, Seat>>);

/// The session that has a machine's seat.
#[derive(Debug)]
struct Seat {
    /// Asks it to leave.
    leave: CancellationToken,
    /// Closed when it has left.
    left: watch::Receiver<()>,
}

/// Holds a machine's seat until dropped.
#[derive(Debug)]
pub(super) struct Taken {
    /// Cancelled when a newer session wants the seat.
    pub(super) leave: CancellationToken,
    _left: watch::Sender<()>,
}

impl Registry {
    /// Takes the seat of a machine. Whoever had it is asked to leave and waited for. Seats
    /// change hands in the order of the calls. Dropping the future gives the seat up.
    pub(super) async fn take(&self, machine: MachineId) -> Taken {
        let (leave, (sender, left)) = (CancellationToken::new(), watch::channel(()));
        let seat = Seat { leave: leave.clone(), left };
        let before = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Seats whose sessions have left are swept here, so that the map stays small.
            seats.retain(|id, seat| *id == machine || seat.left.has_changed().is_ok());
            seats.insert(machine, seat)
        };
        let taken = Taken { leave, _left: sender };
        if let Some(mut before) = before {
            before.leave.cancel();
            // An error is what is waited for: the other end is gone.
            before.left.changed().await.ok();
        }
        taken
    }
}

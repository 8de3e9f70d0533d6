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
    /// Each closed when one has left: its own, and of those it was to wait for. It may give
    /// up waiting; who comes after it must not.
    left: Vec<watch::Receiver<()>>,
}

/// Whether one has not left yet.
fn is_there(left: &watch::Receiver<()>) -> bool {
    left.has_changed().is_ok()
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
        let before: Vec<watch::Receiver<()>> = {
            let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Seats whose sessions have left are swept here, so that the map stays small.
            seats.retain(|id, seat| *id == machine || seat.left.iter().any(is_there));
            let before = seats.remove(&machine).map_or(Vec::new(), |before| {
                before.leave.cancel();
                before.left.into_iter().filter(is_there).collect()
            });
            let left = before.iter().cloned().chain([left]).collect();
            seats.insert(machine, Seat { leave: leave.clone(), left });
            before
        };
        let taken = Taken { leave, _left: sender };
        for mut left in before {
            // An error is what is waited for: the other end is gone.
            left.changed().await.ok();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;

    const MACHINE: MachineId = MachineId(uuid::Uuid::from_u128(7));

    /// Polls once; whether it is done.
    async fn is_done<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> bool {
        let mut future = Some(future);
        std::future::poll_fn(|cx| Poll::Ready(future.take().is_some_and(|f| f.poll(cx).is_ready()))).await
    }

    #[tokio::test]
    async fn a_newcomer_that_gives_up_does_not_let_the_next_one_in() {
        let registry = Registry::default();
        let storing = registry.take(MACHINE).await;
        {
            let mut first = pin!(registry.take(MACHINE));
            assert!(!is_done(first.as_mut()).await, "the old session is still there");
            assert!(storing.leave.is_cancelled());
        }
        let mut second = pin!(registry.take(MACHINE));
        assert!(!is_done(second.as_mut()).await, "the old session still stores");
        drop(storing);
        let seat = second.await;
        assert!(!seat.leave.is_cancelled());
    }
}

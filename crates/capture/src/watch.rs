//! Keeping the guest going while a backup runs. A scratch file that cannot grow stops the
//! guest: the cycle ends before that where it can be foreseen, and right after it where not.

use std::time::Duration;

use farshore_hypervisor::{Change, Event, JobState, PowerState};
use farshore_types::MachineId;
use tokio::sync::broadcast;

use crate::{
    CaptureError, Parts,
    bug::{self, Bug},
};

/// How often the space for scratch files is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Watches until something is wrong; then says what.
pub(crate) async fn watch(parts: &Parts, events: &mut broadcast::Receiver<Event>) -> CaptureError {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if is_stopped_guest(&event, parts.machine) => return CaptureError::GuestStopped,
                // What was lost may have been just that.
                Err(broadcast::error::RecvError::Lagged(_)) if stands_still(parts).await => {
                    return CaptureError::GuestStopped;
                }
                // A host that is going away ends the cycle by its own errors.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                _ => {}
            },
            _ = ticks.tick() => if let Some(error) = short_of_space(parts) { return error },
        }
    }
}

/// Whether the guest was stopped since [`watch`] last looked: a scratch file may fill up
/// while the backup is being ended.
pub(crate) fn was_stopped(parts: &Parts, events: &mut broadcast::Receiver<Event>) -> bool {
    loop {
        match events.try_recv() {
            Ok(event) if is_stopped_guest(&event, parts.machine) => return true,
            Ok(_) => {}
            // What was lost may have been just that: whoever is told so looks again.
            Err(broadcast::error::TryRecvError::Lagged(_)) => return true,
            Err(_) => return false,
        }
    }
}

async fn stands_still(parts: &Parts) -> bool {
    let machine = parts.hypervisor.machine(parts.machine).await;
    machine.is_ok_and(|m| is_halted(&m.power))
}

/// Whether an I/O error halted the guest.
pub(crate) fn is_halted(power: &PowerState) -> bool {
    matches!(power, PowerState::Paused { io_error: true, .. }) && !bug::is(Bug::BlindWatch)
}

fn is_stopped_guest(event: &Event, ours: MachineId) -> bool {
    matches!(event, Event::Machine { machine, change: Change::Suspended { io_error: true } } if *machine == ours)
        && !bug::is(Bug::BlindWatch)
}

/// Whether there is too little room to begin, or go on with, a backup.
pub(crate) fn short_of_space(parts: &Parts) -> Option<CaptureError> {
    let dir = &parts.places.runtime;
    match parts.files.free_space(dir) {
        Ok(free) if free < parts.settings.scratch_reserve => {
            Some(CaptureError::Scratch { dir: dir.clone(), free })
        }
        _ => None,
    }
}

/// Sets a guest going again that an I/O error stopped, after the backup that caused it
/// has ended. Returns whether one was.
pub(crate) async fn rescue(parts: &Parts) -> Result<bool, CaptureError> {
    let machine = parts.hypervisor.machine(parts.machine).await?;
    if is_halted(&machine.power) {
        tracing::warn!(
            machine = machine.name,
            "the guest stood still after an I/O error; setting it going again"
        );
        // With the scratch file still full it would stand still again at once.
        end_own_backup(parts).await?;
        parts.hypervisor.resume(parts.machine).await?;
        return Ok(true);
    }
    Ok(false)
}

/// Ends a backup of ours that runs now although no cycle does. Returns whether one did.
pub(crate) async fn end_own_backup(parts: &Parts) -> Result<bool, CaptureError> {
    let job = parts.hypervisor.job(parts.machine).await?;
    let JobState::Backup { socket: Some(socket), .. } = job else { return Ok(false) };
    if !socket.starts_with(&parts.places.runtime) {
        return Ok(false);
    }
    tracing::warn!(machine = %parts.machine, "ending a backup that was left behind");
    parts.hypervisor.end_backup(parts.machine).await?;
    Ok(true)
}

//! libvirt's events in our words. This module must never act on one.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use farshore_types::MachineId;
use tokio::sync::broadcast;
use uuid::Uuid;
use virt_sys as sys;

use super::ffi::Listener;
use crate::{Change, Event};

/// Hands on what libvirt tells. Nobody listening is fine.
pub(super) struct EventSink {
    pub(super) events: broadcast::Sender<Event>,
    pub(super) broken: Arc<AtomicBool>,
}

impl Listener for EventSink {
    fn lifecycle(&self, machine: [u8; 16], event: i32, detail: i32) {
        let machine = MachineId(Uuid::from_bytes(machine));
        let change = change(u32::try_from(event).ok(), u32::try_from(detail).ok());
        drop(self.events.send(Event::Machine { machine, change }));
    }

    fn closed(&self) {
        self.broken.store(true, Ordering::Release);
        drop(self.events.send(Event::Disconnected));
    }
}

fn change(event: Option<u32>, detail: Option<u32>) -> Change {
    match event {
        Some(sys::VIR_DOMAIN_EVENT_DEFINED) => Change::Defined,
        Some(sys::VIR_DOMAIN_EVENT_UNDEFINED) => Change::Undefined,
        Some(sys::VIR_DOMAIN_EVENT_STARTED) => Change::Started,
        Some(sys::VIR_DOMAIN_EVENT_SUSPENDED) => {
            Change::Suspended { io_error: detail == Some(sys::VIR_DOMAIN_EVENT_SUSPENDED_IOERROR) }
        }
        Some(sys::VIR_DOMAIN_EVENT_RESUMED) => Change::Resumed,
        Some(sys::VIR_DOMAIN_EVENT_SHUTDOWN) => Change::ShuttingDown,
        Some(sys::VIR_DOMAIN_EVENT_STOPPED) => Change::Stopped {
            crashed: matches!(
                detail,
                Some(sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED | sys::VIR_DOMAIN_EVENT_STOPPED_FAILED)
            ),
        },
        _ => Change::Other,
    }
}

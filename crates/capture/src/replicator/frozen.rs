//! Which cycles freeze the guest, and what is shown of what came of it. This module must never
//! know how a guest is frozen.

use farshore_hypervisor::Machine;

use super::Replicator;
use crate::{CycleReport, freeze::Frozen};

impl Replicator {
    /// Whether the cycle that begins is to be application-consistent.
    pub(super) fn is_app_due(&mut self, machine: &Machine, off: bool) -> bool {
        let slack = self.parts.settings.frequency() / 2;
        let due = self.due.is_now(self.parts.clock.monotonic(), slack);
        let wanted = self.due.is_wanted();
        self.status.send_if_modified(|s| {
            let changed = s.apps.wanted != wanted;
            s.apps.wanted = wanted;
            s.apps.fault = s.apps.fault.take().filter(|_| wanted);
            changed
        });
        // A guest that does not run answers nobody, and writes nothing.
        due && !off && !machine.power.is_paused()
    }

    /// A cycle that was to be application-consistent is over; the point it made, where it did.
    pub(super) fn froze(&mut self, frozen: Frozen, report: Option<&CycleReport>) {
        let now = self.parts.clock.monotonic();
        let made = frozen.held.is_ok() && report.is_some_and(|report| report.point);
        if made {
            self.due.made(now);
        } else {
            self.due.failed(now);
        }
        if let Err(why) = &frozen.held {
            tracing::warn!(machine = %self.parts.machine, why, "the point is crash-consistent, and was to be application-consistent");
        }
        self.status.send_modify(|s| {
            s.apps.made += u64::from(made);
            s.apps.failed += u64::from(frozen.held.is_err());
            s.apps.frozen_ms = frozen.took_ms.or(s.apps.frozen_ms);
            s.apps.fault = frozen.held.err();
        });
    }
}

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
        let fault = frozen.held.err().or_else(|| match report {
            Some(report) if report.point => None,
            Some(_) => Some(
                "the guest was frozen, and then the cycle was too large for one point: lower the copy \
                 frequency, or look what slows the link"
                    .to_owned(),
            ),
            None => {
                Some("the guest was frozen, and then the cycle failed: see why it is tried again".to_owned())
            }
        });
        match &fault {
            None => self.due.made(now),
            Some(why) => {
                tracing::warn!(machine = %self.parts.machine, why, "no application-consistent point came of a try");
                self.due.failed(now);
            }
        }
        self.status.send_modify(|s| {
            s.apps.made += u64::from(fault.is_none());
            s.apps.failed += u64::from(fault.is_some());
            s.apps.frozen_ms = frozen.took_ms.or(s.apps.frozen_ms);
            s.apps.fault = fault;
        });
    }
}

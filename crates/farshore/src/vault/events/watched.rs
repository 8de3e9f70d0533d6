//! What is watched: how it was at the last look, and so what is new. A noun more is a field
//! more, and a module where it takes more than a few lines.

mod alerts;
mod contacts;
mod jobs;

use std::collections::HashMap;

use farshore_health::Level;
use farshore_protection::State as LifeState;
use farshore_types::MachineId;
use farshore_vault::{Core, Moment, rows::ProtectionRow};

use crate::{
    vault::views::Seen,
    views::{EventView, ProtectionState},
};

/// How everything was.
#[derive(Debug, Default)]
pub(super) struct Watched {
    protections: HashMap<MachineId, (ProtectionState, Level, LifeState)>,
    jobs: jobs::Jobs,
    alerts: alerts::Alerts,
    contacts: contacts::Contacts,
}

impl Watched {
    /// What differs from before, and is how it was from now on.
    pub(super) fn changes(&mut self, core: &Core, at: &Moment) -> Vec<EventView> {
        let mut found = Vec::new();
        self.contacts.changes(core, at, &mut found);
        self.protections(core, at, &mut found);
        self.jobs.changes(core, at, &mut found);
        self.alerts.changes(core, &mut found);
        found
    }

    fn protections(&mut self, core: &Core, at: &Moment, found: &mut Vec<EventView>) {
        for row in core.protections().filter(|row| row.is_live()) {
            let seen = Seen::of(core, row, at);
            let now = (seen.state, seen.health.level, row.life.state());
            if self.protections.insert(row.machine, now) != Some(now) {
                let (machine, name) = (row.machine, row.name.clone());
                let (state, health, life) = now;
                found.push(EventView::Protection { machine, name, state, health, life });
            }
        }
        let is_live = |machine: &MachineId| core.protection(*machine).is_some_and(ProtectionRow::is_live);
        self.protections.retain(|machine, _| {
            let live = is_live(machine);
            if !live {
                found.push(EventView::ProtectionEnded { machine: *machine });
            }
            live
        });
    }
}

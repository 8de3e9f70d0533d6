//! Machines that run under one identity on two hosts at once: somebody copied a definition, or
//! started a machine that another host of a cluster runs already. Which of them the disks follow
//! nobody knows then, so neither is replicated until only one runs. A machine that is being
//! migrated runs on two hosts for moments, and is none. This module must never stop anything.

use std::collections::BTreeMap;

use farshore_types::{HostId, MachineId};

use super::Core;
use crate::{
    Moment,
    rows::{ProtectionRow, SuspectRow},
};

/// Milliseconds for which a machine has to be seen on two hosts, and which both must confirm by
/// another report: longer than any migration takes to switch, and than a report is under way.
const CONFIRM_MS: u64 = 10_000;

impl Core {
    /// Whether a host says now that it runs a machine, by an inventory that is its own of now.
    fn says_running(&self, host: HostId, machine: MachineId, at: &Moment) -> bool {
        let facts = self.tables.machines.get(&(host, machine)).map(|row| &row.facts);
        facts.is_some_and(|facts| facts.power == "running")
            && self.has_said_what_is_on_it(host)
            && !self.is_gone(host, at)
    }

    /// Machines that run on a host besides that of their protection, each with that host. What
    /// the target runs is told by how it stands with the machine, and refused there.
    fn seen_twice(&self, at: &Moment) -> BTreeMap<MachineId, HostId> {
        let running = self.tables.machines.rows().filter(|row| row.facts.power == "running");
        let strange = running.filter(|row| {
            let of_it = self.tables.protections.get(&row.facts.id).filter(|of_it| of_it.is_live());
            of_it.is_some_and(|of_it| {
                !of_it.hosts().contains(&row.host)
                    && self.says_running(row.host, row.facts.id, at)
                    && self.says_running(of_it.source(), row.facts.id, at)
            })
        });
        strange.map(|row| (row.facts.id, row.host)).collect()
    }

    /// Holds back what is seen to run twice, and lets go what does not any more.
    pub(super) fn see_to_twins(&mut self, at: &Moment) {
        let seen = self.seen_twice(at);
        let over = self.tables.suspects.rows().map(|row| row.machine);
        let over = over.filter(|machine| !seen.contains_key(machine));
        for machine in over.collect::<Vec<_>>() {
            self.tables.suspects.remove(&machine);
        }
        for (machine, host) in seen {
            let known = self.tables.suspects.get(&machine).filter(|row| row.host == host);
            if known.is_none() {
                self.tables.suspects.put(SuspectRow { machine, host, since_ms: at.mono_ms });
            }
        }
        let twin_of = |row: &ProtectionRow| {
            let suspect = self.tables.suspects.get(&row.machine)?;
            let confirmed = row.twin == Some(suspect.host) || self.is_confirmed(row, suspect, at);
            confirmed.then_some(suspect.host)
        };
        let rows = self.tables.protections.rows();
        let news = rows.map(|row| (row.machine, row.twin, twin_of(row)));
        let news: Vec<_> = news.filter(|(_, was, is)| was != is).collect();
        for (machine, _, twin) in news {
            self.tables.protections.change(&machine, |row| row.twin = twin);
        }
    }

    fn is_confirmed(&self, row: &ProtectionRow, suspect: &SuspectRow, at: &Moment) -> bool {
        let again = |host: HostId| {
            let seen = self.observed_of(host);
            seen.is_some_and(|seen| seen.mono_ms.saturating_sub(seen.age_ms) > suspect.since_ms)
        };
        at.mono_ms.saturating_sub(suspect.since_ms) >= CONFIRM_MS
            && again(row.source())
            && again(suspect.host)
    }
}

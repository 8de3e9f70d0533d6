//! Machines that move from host to host, and machines that are new. A protection follows its
//! machine where that is certainly elsewhere; that it was not seen is never enough (rule R5).

use farshore_control::report::MachineFacts;
use farshore_protection::{Event, Report, Stage};
use farshore_types::{HostId, MachineId};

use super::Core;
use crate::{Enable, Moment, rows::MachineRow};

/// Whether a machine may be on another host because its users moved it.
fn follows(row: &crate::rows::ProtectionRow) -> bool {
    matches!(row.life.stage, Stage::Replicating | Stage::FailedOver { .. } | Stage::Committed)
}

impl Core {
    /// Hosts on which a machine is, by their inventories, and was not brought up by us.
    fn homes(&self, machine: MachineId) -> Vec<HostId> {
        let here = |row: &&MachineRow| row.facts.id == machine && row.facts.brought_up_at.is_none();
        self.tables.machines.rows().filter(here).map(|row| row.host).collect()
    }

    /// Whether the inventory that is known of a host is the one that it has now: what comes
    /// from a backup is not.
    pub(super) fn has_said_what_is_on_it(&self, host: HostId) -> bool {
        let Some(known) = self.tables.hosts.get(&host).map(|row| row.inventory_digest.as_str()) else {
            return false;
        };
        let said = self.tables.observed.get(&host).map(|row| row.report.inventory_digest.as_str());
        self.may_speak_to(host) && !known.is_empty() && said.is_none_or(|said| said == known)
    }

    /// Lets protections follow machines that are on `host` now, and not any more on the host
    /// that ran them, both of one cloud, as both have said.
    pub(super) fn follow_moves(&mut self, host: HostId) {
        let cloud = |host: &HostId| self.tables.hosts.get(host).and_then(|row| row.cloud);
        let mut moved = Vec::new();
        for row in self.tables.protections.rows().filter(|row| row.is_live() && follows(row)) {
            let (source, concerned) =
                (row.source(), host == row.source() || cloud(&host) == cloud(&row.source()));
            let said = |host: &HostId| self.has_said_what_is_on_it(*host);
            let there = self.tables.machines.get(&(source, row.machine)).is_some();
            if there || !concerned || cloud(&source).is_none() || !said(&source) {
                continue;
            }
            // On exactly one host, another one of the same cloud, that is not its target.
            if let [home] = self.homes(row.machine).as_slice()
                && *home != source
                && *home != row.target()
                && cloud(home) == cloud(&source)
                && said(home)
            {
                moved.push((row.machine, *home));
            }
        }
        for (machine, home) in moved {
            let name = self.host_name(home);
            let Some(life) = self.tables.protections.get(&machine).map(|row| row.life.clone()) else {
                continue;
            };
            let event = Event::Moved { from: life.source, to: home };
            let moved = life.hear(&Report { epoch: life.epoch, event }).life;
            self.put_life(machine, moved);
            let note = Some(format!("the machine moved to host {name}"));
            self.tables.protections.change(&machine, |row| row.note = note);
        }
    }

    /// Whether a machine that a host did not have before is to be protected by itself.
    pub(super) fn is_new_and_wanted(&self, host: HostId, facts: &MachineFacts) -> bool {
        let cloud = self.tables.hosts.get(&host).and_then(|row| row.cloud);
        let policy = cloud.and_then(|cloud| self.policy_of(cloud));
        let wanted = policy.is_some_and(|row| row.policy.auto_protect);
        let known = || {
            self.tables.protections.get(&facts.id).is_some()
                || self.tables.machines.rows().any(|row| row.facts.id == facts.id)
        };
        wanted && facts.brought_up_at.is_none() && !known()
    }

    /// Protects the new machines that can be: those with errors are tried again later.
    pub(super) fn protect_new_machines(&mut self, at: &Moment) {
        if !self.head().learned || self.may_command(at).is_err() {
            return;
        }
        let waiting = self.tables.machines.rows().filter(|row| row.wants_protection);
        let waiting: Vec<(HostId, MachineId)> = waiting.map(|row| (row.host, row.facts.id)).collect();
        for (host, machine) in waiting {
            // Somebody may have decided meanwhile, for or against it.
            let decided = self.tables.protections.get(&machine).is_some();
            let enable = Enable { machines: vec![machine], ..Enable::default() };
            if decided || self.atomically(|core| core.enable(&enable, at)).is_ok() {
                self.tables.machines.change(&(host, machine), |row| row.wants_protection = false);
            }
        }
    }
}

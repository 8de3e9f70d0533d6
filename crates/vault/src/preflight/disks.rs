//! Disks: which are replicated, and whether there is room for them.

use super::Look;
use crate::rows::{HostRow, MachineRow};

/// What the agent calls a disk that it does not replicate.
const LEFT_OUT: &str = "left-out";
/// What it calls one that is read and compared in every cycle.
const COMPARED: &str = "compare";
/// One part in so many of the disks' size has to be free at least: most disks are not full,
/// and a replica is compressed, but not without end.
const LEAST_ROOM: u64 = 10;

impl Look<'_> {
    pub(super) fn disks(&mut self, row: &MachineRow) {
        let (name, enable) = (&row.facts.name, self.enable);
        for key in &enable.excluded {
            if !row.facts.disks.iter().any(|disk| disk.key == *key) {
                let what = format!("machine '{name}' has no disk '{key}' that could be left out");
                self.error("disk-unknown", what, "name disks as the machine's definition does");
            }
        }
        let mut replicated = 0;
        for disk in row.facts.disks.iter().filter(|disk| !enable.excluded.contains(&disk.key)) {
            let why = disk.why.as_deref().unwrap_or("its kind is not known");
            match disk.tracking.as_str() {
                LEFT_OUT => {
                    let what = format!("disk '{}' of machine '{name}' is left out: {why}", disk.key);
                    self.warning(
                        "disk-left-out",
                        what,
                        "the replica starts without it; exclude it to say so",
                    );
                }
                COMPARED => {
                    replicated += 1;
                    let what =
                        format!("disk '{}' of machine '{name}' is read whole in each cycle: {why}", disk.key);
                    self.warning("disk-compared", what, "use qcow2 for it, or a long copy frequency");
                }
                _ => replicated += 1,
            }
        }
        if replicated == 0 {
            let what = format!("machine '{name}' has no disk that is replicated");
            self.error("no-disks", what, "leave fewer disks out");
        }
    }

    /// What belongs to the machine and is in none of its recovery points.
    pub(super) fn guest_state(&mut self, row: &MachineRow) {
        if row.facts.tpm {
            let name = &row.facts.name;
            let what = format!(
                "machine '{name}' has a TPM, whose state is not in its recovery points: on the other side it has an empty one"
            );
            let advice =
                "keep the guest's recovery keys (BitLocker, LUKS) at hand, or let nothing depend on its TPM";
            self.warning("tpm-left-out", what, advice);
        }
    }

    /// Bytes that the replicated disks take, as far as their host can tell; else their sizes.
    pub(super) fn size(&self, row: &MachineRow) -> u64 {
        let taken = row
            .facts
            .disks
            .iter()
            .filter(|disk| disk.tracking != LEFT_OUT && !self.enable.excluded.contains(&disk.key));
        taken.map(|disk| disk.allocated.unwrap_or(disk.size)).sum()
    }

    pub(super) fn room(&mut self, target: &HostRow, row: &MachineRow) {
        let (name, size) = (&row.facts.name, self.size(row));
        let promised = self.promised.get(&target.id).copied().unwrap_or(0);
        let Some(free) = self.core.free_for_replicas(target.id) else {
            let what = format!("host '{}' has not said how much room it has", target.name);
            self.warning("room-unknown", what, "see to its agent");
            return;
        };
        let left = free.saturating_sub(promised / LEAST_ROOM);
        if left < size / LEAST_ROOM {
            let what = format!(
                "host '{}' has {free} bytes free, machine '{name}' has {size} bytes of disks",
                target.name
            );
            self.error("no-room", what, "make room, or name another target host");
        } else if free.saturating_sub(promised) < size {
            let what = format!(
                "host '{}' has {free} bytes free, {promised} are promised, machine '{name}' has disks of {size}",
                target.name
            );
            self.warning("little-room", what, "it fits as long as the disks are not full");
        }
    }
}

//! What the next cycle has to be, decided from what is known. Pure.

use std::collections::{BTreeMap, BTreeSet};

use farshore_hypervisor::{Checkpoint, Machine, Tracking, definition};
use farshore_types::{CLUSTER_BYTES, DiskKey};

use crate::{
    CaptureError,
    bug::{self, Bug},
    map::{Record, Scan, ScanReason},
};

/// Our checkpoints are told by this; all others are never touched.
pub(crate) const PREFIX: &str = "farshore-";

/// A disk that takes part, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedDisk {
    pub(crate) key: DiskKey,
    /// Size in bytes, a whole number of sectors.
    pub(crate) size: u64,
    pub(crate) read: Read,
    /// Whether it has a bitmap and takes part in checkpoints.
    pub(crate) tracked: bool,
    /// Its size at the last element, if that was another: the last clusters of both sizes
    /// are then looked at, whatever the bitmap says.
    pub(crate) was: Option<u64>,
}

/// What of a disk is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// What its bitmap says since the checkpoint.
    Dirty {
        /// The checkpoint.
        since: String,
        /// The cluster from which on.
        from: u64,
    },
    /// All of it, from a cluster on.
    From(u64),
    /// Nothing more: this slice's scan has been through it.
    Nothing,
}

/// The next cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) disks: Vec<PlannedDisk>,
    /// Whether a new checkpoint is taken at the instant.
    pub(crate) checkpoint: bool,
    /// A scan that this cycle goes on with, or begins.
    pub(crate) scan: Option<Scan>,
}

/// The disks that are replicated, and why the others are not.
///
/// # Errors
/// Where a disk would be left out that only a look later, or a person, can decide about:
/// one that could not be looked at, and one of the target's last element (`held`) that the
/// definition now keeps from being replicated.
pub(crate) fn choose_disks(
    machine: &Machine,
    excluded: &BTreeSet<DiskKey>,
    held: &[(DiskKey, u64)],
) -> Result<(Vec<DiskKey>, Vec<String>), CaptureError> {
    let (mut chosen, mut notes, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
    for disk in &machine.disks {
        match &disk.tracking {
            _ if excluded.contains(&disk.key) => notes.push(format!("{}: left out as configured", disk.key)),
            Tracking::LeftOut { why } if held.iter().any(|(key, _)| *key == disk.key) => {
                return Err(CaptureError::TurnedAway {
                    machine: machine.name.clone(),
                    disk: disk.key.clone(),
                    why: why.clone(),
                });
            }
            Tracking::LeftOut { why } => notes.push(format!("{}: left out: {why}", disk.key)),
            Tracking::Unknown { why } => unseen.push(format!("{}: {why}", disk.key)),
            Tracking::Compare { why } => {
                notes.push(format!("{}: {why}", disk.key));
                chosen.push(disk.key.clone());
            }
            Tracking::Bitmap => {
                if !disk.discard {
                    notes.push(format!(
                        "{}: no discard='unmap': space the guest frees is never given back",
                        disk.key
                    ));
                }
                chosen.push(disk.key.clone());
            }
        }
    }
    let gone = excluded.iter().filter(|key| machine.disk(key).is_none());
    notes.extend(gone.map(|key| format!("{key}: left out as configured; the machine has no such disk now")));
    notes.extend(not_as_defined(machine));
    match unseen.is_empty() {
        true => Ok((chosen, notes)),
        false => Err(CaptureError::Unseen { machine: machine.name.clone(), why: unseen.join("; ") }),
    }
}

/// Where a machine has other disks now than it will have when it is started again.
fn not_as_defined(machine: &Machine) -> Vec<String> {
    let Ok(text) = definition::machine(&machine.definition) else { return Vec::new() };
    let defined = |key: &DiskKey| text.disks.iter().any(|disk| disk.key == *key);
    let now = machine.disks.iter().map(|disk| &disk.key).filter(|key| !defined(key));
    let now = now.map(|key| format!("{key}: plugged in only until the machine stops"));
    let later = text.disks.iter().map(|disk| &disk.key).filter(|key| machine.disk(key).is_none());
    let later =
        later.map(|key| format!("{key}: in the points only when the machine has been started with it"));
    now.chain(later).collect()
}

/// Decides what the next cycle is.
pub(crate) fn next(
    machine: &Machine,
    chosen: &[DiskKey],
    record: &Record,
    checkpoints: &[Checkpoint],
) -> Plan {
    let trusted =
        |name: &Option<String>| name.as_ref().and_then(|n| checkpoints.iter().find(|c| c.name == *n));
    let sizes: BTreeMap<&DiskKey, u64> = record.disks.iter().map(|(d, s)| (d, *s)).collect();
    let scan = running_scan(
        record,
        chosen,
        machine,
        trusted(&record.scan.as_ref().and_then(|s| s.checkpoint.clone())),
    );
    let since = match &scan {
        Some(scan) => trusted(&scan.since),
        None => trusted(&record.checkpoint),
    };
    let tracked_any = chosen.iter().any(|key| is_tracked(machine, key));
    let scan = scan.or_else(|| match (since, &record.sealed) {
        (Some(_), _) => None,
        (None, Some(_)) if !tracked_any => None,
        (None, Some(_)) => Some(begin_scan(ScanReason::Resync(why_lost(record)))),
        (None, None) => Some(begin_scan(ScanReason::Initial)),
    });
    let disks = chosen
        .iter()
        .filter_map(|key| machine.disks.iter().find(|d| d.key == *key))
        .map(|disk| {
            let size = disk.size.next_multiple_of(512);
            let tracked = matches!(disk.tracking, Tracking::Bitmap);
            let covered =
                since.filter(|c| tracked && c.disks.contains(&disk.key) && sizes.contains_key(&disk.key));
            let read = match (&scan, covered) {
                (Some(scan), covered) => scan_read(scan, &disk.key, size, covered),
                (None, Some(checkpoint)) => Read::Dirty { since: checkpoint.name.clone(), from: 0 },
                (None, None) => Read::From(0),
            };
            let was = sizes.get(&disk.key).copied().filter(|s| *s != size);
            PlannedDisk { key: disk.key.clone(), size, read, tracked, was }
        })
        .collect();
    // The first slice of a scan takes the checkpoint that its last cycle starts from.
    let checkpoint = tracked_any && scan.as_ref().is_none_or(|s| s.checkpoint.is_none());
    Plan { disks, checkpoint, scan }
}

fn is_tracked(machine: &Machine, key: &DiskKey) -> bool {
    machine.disks.iter().any(|d| d.key == *key && matches!(d.tracking, Tracking::Bitmap))
}

/// A scan goes on where it was, if the checkpoint of its first slice still records.
fn running_scan(
    record: &Record,
    chosen: &[DiskKey],
    machine: &Machine,
    checkpoint: Option<&Checkpoint>,
) -> Option<Scan> {
    let scan = record.scan.clone()?;
    let whole = chosen
        .iter()
        .filter(|k| is_tracked(machine, k))
        .all(|k| checkpoint.is_some_and(|c| c.disks.contains(k)));
    if whole {
        return Some(scan);
    }
    // What was read before counts for nothing now, but the digest map makes it cheap.
    let why = match scan.why {
        ScanReason::Rest => ScanReason::Resync("the checkpoint of a large cycle is gone".to_owned()),
        why => why,
    };
    Some(begin_scan(why))
}

fn begin_scan(why: ScanReason) -> Scan {
    Scan { why, checkpoint: None, done: BTreeMap::new(), since: None }
}

fn scan_read(scan: &Scan, key: &DiskKey, size: u64, covered: Option<&Checkpoint>) -> Read {
    let trusts = bug::is(Bug::TrustTracking) && matches!(scan.why, ScanReason::Resync(_));
    match scan.done.get(key).copied().unwrap_or(0) {
        _ if trusts => Read::Nothing,
        done if done >= size.div_ceil(CLUSTER_BYTES) => Read::Nothing,
        done => match covered {
            Some(checkpoint) => Read::Dirty { since: checkpoint.name.clone(), from: done },
            None => Read::From(done),
        },
    }
}

fn why_lost(record: &Record) -> String {
    match &record.checkpoint {
        Some(name) => format!("checkpoint {name} is gone"),
        None => "no checkpoint goes with the target's last element".to_owned(),
    }
}

#[cfg(test)]
mod tests;

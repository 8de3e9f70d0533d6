//! What is wanted of this host, decided from what is held. Pure: this module must never know
//! what runs.

use std::collections::BTreeSet;

use farshore_control::{Compression, InitialCopy, Intent, Protection, Settings, report::SourcePhase};
use farshore_protection::{Life, Want};
use farshore_replica::Retention;
use farshore_types::{DiskKey, Epoch, HostId, MachineId};

use super::ledger::Ledger;
use crate::config::{self, Period, Replicate, SmallWrites, Target};

/// Shortest and longest copy frequency, in seconds; what is beyond is brought within.
const FREQUENCY_SECS: (u64, u64) = (1, 3600);
/// Most points that a replica keeps.
const POINTS_MAX: usize = 65_000;

/// What is wanted of a machine's source on this host.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// Cycles run.
    Run(Box<Wanted>),
    /// Nothing is sent, and why.
    Rest(Epoch, SourcePhase),
}

/// How a machine is replicated from here.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// By which epoch it writes.
    pub epoch: Epoch,
    /// To whom.
    pub target: Target,
    /// Disks that are left out.
    pub excluded: BTreeSet<DiskKey>,
    /// How often a resync was asked for.
    pub resync: u64,
    /// As the policy says.
    pub settings: Settings,
}

/// What is to become of a replica's points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pruning {
    /// As this host's configuration says.
    #[default]
    Configured,
    /// As the policy says.
    By(Retention),
    /// Nothing goes: its protection is over, or elsewhere, and only a request deletes it; or it is
    /// what a failed-over machine can be taken back to.
    Never,
}

impl Wanted {
    /// Whether a replication that runs as `self` can go on as `other`: what differs is
    /// changed while it runs.
    pub fn goes_on_as(&self, other: &Wanted) -> bool {
        let live = |wanted: &Wanted| Wanted {
            settings: Settings {
                bandwidth: None,
                bandwidth_windows: Vec::new(),
                resync_window: None,
                retention: other.settings.retention,
                app_consistent_secs: None,
                replica_compression: true,
                ..wanted.settings.clone()
            },
            ..wanted.clone()
        };
        live(self) == live(other)
    }

    /// In the words of the agent's own configuration.
    pub fn replicate(&self) -> Replicate {
        let (least, most) = FREQUENCY_SECS;
        Replicate {
            machine: self.machine.to_string(),
            target: self.target.clone(),
            frequency: Period::secs(self.settings.copy_frequency_secs.clamp(least, most)),
            // It is followed while cycles run.
            app_consistent: None,
            compression: match self.settings.compression {
                Compression::Auto => config::Compression::Auto,
                Compression::On => config::Compression::On,
                Compression::Off => config::Compression::Off,
            },
            small_writes: if self.settings.small_writes { SmallWrites::On } else { SmallWrites::Off },
            bandwidth: None,
            exclude: self.excluded.iter().cloned().collect(),
        }
    }
}

/// What is wanted of a protection's source here; none: this host is not its source.
///
/// `seeded` says whether a first copy has begun, which no later time holds up.
pub fn source(ledger: &Ledger, protection: &Protection, now_ms: u64, seeded: bool) -> Option<Role> {
    let me = ledger.me();
    if protection.source.host != me {
        return None;
    }
    let epoch = protection.epoch;
    let rest = |phase| Some(Role::Rest(epoch, phase));
    let denied = ledger.lineage(protection.machine).and_then(|l| l.may_write(me, &epoch).err());
    if let Some(denied) = denied {
        return rest(SourcePhase::Failed { why: denied.to_string() });
    }
    // A machine that is on its way off this host is shut down for its last cycle: that is sent in
    // maintenance too, or it would run nowhere until that ends.
    let rests = ledger.host().is_some_and(|host| host.maintenance && !host.machines_go_on);
    if rests && !sends_last_cycle(protection) {
        return rest(SourcePhase::Paused);
    }
    if let Some(host) = &protection.twin {
        let why = format!("host '{host}' runs a machine of the same identity at the same time");
        return rest(SourcePhase::Waiting { why });
    }
    match (intent(protection), protection.initial) {
        (Intent::Pause, _) => rest(SourcePhase::Paused),
        (Intent::Replicate, InitialCopy::NotBefore { at_ms }) if !seeded && now_ms < at_ms => {
            rest(SourcePhase::Waiting {
                why: format!("the first copy begins in {} s", (at_ms - now_ms) / 1000),
            })
        }
        (Intent::Replicate, InitialCopy::Offline) if !seeded => rest(SourcePhase::Waiting {
            why: "the first copy is carried over on a medium; cycles begin when the target has it".to_owned(),
        }),
        (Intent::Replicate, _) => Some(Role::Run(Box::new(wanted(protection)))),
    }
}

/// What is to happen at the source. A document that tells a life tells it better than by one
/// word: the last cycle of a machine that is handed over is sent though cycles have ended.
fn intent(protection: &Protection) -> Intent {
    let Some(life) = &protection.life else { return protection.intent };
    match life.wanted().copies || sends_last_cycle(protection) {
        true => Intent::Replicate,
        false => Intent::Pause,
    }
}

/// Whether the machine is handed over, and the other host is to have everything before that.
fn sends_last_cycle(protection: &Protection) -> bool {
    let hands_over = |life: &Life| matches!(life.wanted().source, Want::HandOver { last_cycle: true, .. });
    protection.life.as_ref().is_some_and(|life| hands_over(life) && !life.paused)
}

fn wanted(protection: &Protection) -> Wanted {
    let (address, server_name) = (protection.target.address.clone(), protection.target.name.clone());
    Wanted {
        machine: protection.machine,
        name: protection.name.clone(),
        epoch: protection.epoch,
        target: Target { address, server_name },
        excluded: protection.excluded.clone(),
        resync: protection.resync,
        settings: protection.settings.clone(),
    }
}

/// Whether a machine's replica here keeps plain what arrives compressed.
pub(super) fn is_plain(ledger: &Ledger, machine: MachineId) -> bool {
    ledger.protection(machine).is_some_and(|protection| !protection.settings.replica_compression)
}

/// What is to become of the points of a machine's replica here.
pub fn pruning(ledger: &Ledger, machine: MachineId) -> Pruning {
    if ledger.is_removed(machine) {
        return Pruning::Never;
    }
    let Some(protection) = ledger.protection(machine) else { return Pruning::Configured };
    if ![protection.source.host, protection.target.host].contains(&ledger.me()) {
        // It has moved to another host, or is on its way there: this one may be the whole one.
        return Pruning::Never;
    }
    if protection.life.as_ref().is_some_and(|life| life.keeps_history_on(ledger.me())) {
        // What it can be taken back to, and what there is until the other way has a point.
        return Pruning::Never;
    }
    let keep = protection.settings.retention;
    Pruning::By(Retention {
        every_point_secs: keep.every_point_secs,
        hourly_secs: keep.hourly_secs,
        daily_secs: keep.daily_secs,
        points_max: keep.points_max.clamp(1, POINTS_MAX),
    })
}

/// Whether this host is to take cycles of a protection.
pub fn is_target(protection: &Protection, me: HostId) -> bool {
    protection.target.host == me
}

//! The state of a host in memory and how each operation changes it; no waiting, no events.
//! This module must never know about planned failures.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
};

use farshore_types::{DiskKey, MachineId};
use uuid::Uuid;

use super::{agent::GuestAgent, export::Snapshot, image::Image, wrong};
use crate::{
    Backup, BackupDisk, BackupMode, BackupSpec, BlockJob, Checkpoint, Deletion, Disk, Exported,
    HypervisorError, Kind, Machine, PowerState, Problem, Result, Tracking,
    definition::{self, DefinitionError, DiskText, MachineText, Rewrite},
};

#[derive(Default)]
pub(super) struct World {
    pub(super) images: BTreeMap<PathBuf, Image>,
    pub(super) machines: BTreeMap<MachineId, Model>,
    pub(super) start_problems: Vec<Problem>,
    /// Networks that were made.
    pub(super) networks: BTreeSet<String>,
    /// Networks of the host that give addresses.
    pub(super) giving: BTreeSet<String>,
    /// Addresses that they keep for cards.
    pub(super) addresses: BTreeMap<(String, String), IpAddr>,
    /// Images that cannot be looked at now.
    pub(super) unseen: BTreeSet<PathBuf>,
}

/// A machine.
pub(super) struct Model {
    xml: String,
    text: MachineText,
    pub(super) power: PowerState,
    pub(super) autostart: bool,
    /// Oldest first, each the parent of the next.
    checkpoints: Vec<(String, Vec<DiskKey>)>,
    pub(super) backup: Option<Running>,
    pub(super) block_job: Option<BlockJob>,
    pub(super) agent: GuestAgent,
    pub(super) heeds_shutdown: bool,
    /// Whether it was saved when it went off.
    pub(super) saved: bool,
    /// Whether the guest has run since the machine was started.
    pub(super) has_run: bool,
    /// Whether its cables were pulled since then.
    pub(super) unplugged: bool,
}

/// A backup that runs.
pub(super) struct Running {
    pub(super) socket: PathBuf,
    pub(super) disks: BTreeMap<DiskKey, Arc<Snapshot>>,
    pub(super) ended: Arc<AtomicBool>,
}

impl World {
    /// Keeps an address of a network for a card.
    pub(super) fn reserve(
        &mut self,
        verb: &'static str,
        network: &str,
        card: &str,
        address: IpAddr,
    ) -> Result<()> {
        if !self.giving.contains(network) {
            let (kind, why) = match self.networks.contains(network) {
                true => (Kind::Unsupported, format!("network '{network}' gives no addresses by DHCP")),
                false => (Kind::NoSuchNetwork, format!("the host has no network '{network}'")),
            };
            return Err(wrong(verb, kind, why));
        }
        let mut others = self.addresses.iter().filter(|((n, c), _)| n == network && c != card);
        if let Some(((_, other), _)) = others.find(|(_, kept)| **kept == address) {
            let why = format!("network '{network}' keeps {address} for {other}");
            return Err(wrong(verb, Kind::AlreadyExists, why));
        }
        self.addresses.insert((network.to_owned(), card.to_owned()), address);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

impl World {
    pub(super) fn model(&self, verb: &'static str, id: MachineId) -> Result<&Model> {
        self.machines
            .get(&id)
            .ok_or_else(|| wrong(verb, Kind::NoSuchMachine, "there is no such machine").of(id))
    }

    pub(super) fn machine_mut(&mut self, verb: &'static str, id: MachineId) -> Result<&mut Model> {
        let missing = || wrong(verb, Kind::NoSuchMachine, "there is no such machine").of(id);
        self.machines.get_mut(&id).ok_or_else(missing)
    }

    /// The machine, started.
    pub(super) fn started(&mut self, verb: &'static str, id: MachineId) -> Result<&mut Model> {
        let model = self.machine_mut(verb, id)?;
        if model.power.is_off() {
            return Err(model.error(verb, Kind::NotRunning, "it is not running"));
        }
        Ok(model)
    }

    pub(super) fn image_of(
        &mut self,
        verb: &'static str,
        id: MachineId,
        disk: &DiskKey,
    ) -> Result<&mut Image> {
        let model = self.model(verb, id)?;
        let missing = model.error(verb, Kind::Invalid, &format!("it has no disk '{disk}' with an image"));
        let path = model.path_of(disk).cloned();
        path.and_then(|path| self.images.get_mut(&path)).ok_or(missing)
    }

    pub(super) fn describe(&self, id: MachineId, model: &Model) -> Machine {
        Machine {
            id,
            name: model.text.name.clone(),
            power: model.power.clone(),
            saved: model.power.is_off() && model.saved,
            disks: model.text.disks.iter().map(|disk| self.describe_disk(disk)).collect(),
            nics: model.text.nics.clone(),
            definition: model.xml.clone(),
            autostart: model.autostart,
            nvram: model.text.nvram.clone(),
        }
    }

    fn describe_disk(&self, disk: &DiskText) -> Disk {
        let unseen = disk.source.path().is_some_and(|path| self.unseen.contains(path));
        let image = disk.source.path().and_then(|path| self.images.get(path)).filter(|_| !unseen);
        Disk {
            key: disk.key.clone(),
            path: disk.source.path().cloned(),
            format: disk.format.clone(),
            size: image.map_or(0, |image| image.size),
            tracking: match tracking(disk) {
                Tracking::Bitmap | Tracking::Compare { .. } if unseen => {
                    Tracking::Unknown { why: "its image cannot be opened".to_owned() }
                }
                known => known,
            },
            discard: disk.discard,
            stamp: image.map(|image| image.changes.to_string()),
            layered: image.is_some_and(|image| image.layered),
        }
    }

    pub(super) fn define(&mut self, verb: &'static str, xml: &str) -> Result<MachineId> {
        let invalid = |error: DefinitionError| wrong(verb, Kind::Invalid, error.to_string());
        let text = definition::machine(xml).map_err(invalid)?;
        let id = text.id.unwrap_or_else(|| MachineId(Uuid::new_v4()));
        let with_id = Rewrite { id: text.id.is_none().then_some(id), ..Rewrite::default() };
        let xml = definition::rewrite(xml, &with_id).map_err(invalid)?;
        let holds_name = |(other, m): (&MachineId, &Model)| *other != id && m.text.name == text.name;
        if self.machines.iter().any(holds_name) {
            return Err(wrong(
                verb,
                Kind::AlreadyExists,
                format!("'{}' is another machine's name", text.name),
            ));
        }
        match self.machines.get_mut(&id) {
            Some(model) => (model.xml, model.text) = (xml, text),
            None => {
                self.machines.insert(id, Model::new(xml, text));
            }
        }
        Ok(id)
    }

    /// Where a started machine stops: in order, or (`crashed`) not.
    pub(super) fn stop(&mut self, verb: &'static str, id: MachineId, crashed: bool) -> Result<()> {
        let model = self.machine_mut(verb, id)?;
        model.power = PowerState::ShutOff { crashed };
        (model.backup, model.block_job) = (None, None);
        model.agent.stop();
        // As QEMU does, which writes its bitmaps then.
        for path in model.paths() {
            if let Some(image) = self.images.get_mut(&path) {
                image.changes += 1;
            }
        }
        Ok(())
    }

    pub(super) fn kill(&mut self, id: MachineId) -> Result<()> {
        self.stop("kill", id, true)?;
        for path in self.model("kill", id)?.paths() {
            if let Some(image) = self.images.get_mut(&path) {
                image.break_bitmaps();
            }
        }
        Ok(())
    }

    pub(super) fn lose_bitmaps(&mut self, id: MachineId, checkpoint: &str) -> Result<()> {
        for path in self.model("change", id)?.paths() {
            if let Some(image) = self.images.get_mut(&path) {
                image.lose_bitmap(checkpoint);
            }
        }
        Ok(())
    }

    pub(super) fn begin_backup(
        &mut self,
        verb: &'static str,
        id: MachineId,
        spec: &BackupSpec,
    ) -> Result<Backup> {
        let model = self.started(verb, id)?;
        model.check_free(verb)?;
        let model = self.model(verb, id)?;
        let mut disks = BTreeMap::new();
        for disk in &spec.disks {
            disks.insert(disk.key.clone(), Arc::new(self.snapshot(verb, model, disk)?));
        }
        if let Some(name) = &spec.checkpoint {
            self.check_new_checkpoint(verb, model, name, spec)?;
        }
        // From here on nothing fails: all of it happens, or none did.
        let tracked: Vec<DiskKey> = spec.disks.iter().filter(|d| d.tracked).map(|d| d.key.clone()).collect();
        let exported = |d: &BackupDisk| Exported {
            key: d.key.clone(),
            incremental: matches!(d.mode, BackupMode::Incremental { .. }),
        };
        let exports = spec.disks.iter().map(exported).collect();
        if let Some(name) = &spec.checkpoint {
            for key in &tracked {
                self.image_of(verb, id, key)?.start_bitmap(name);
            }
        }
        let model = self.machine_mut(verb, id)?;
        model.agent.instant();
        model.checkpoints.extend(spec.checkpoint.clone().map(|name| (name, tracked)));
        model.backup = Some(Running { socket: spec.socket.clone(), disks, ended: Arc::default() });
        Ok(Backup { machine: id, socket: spec.socket.clone(), exports })
    }

    fn check_new_checkpoint(
        &self,
        verb: &'static str,
        model: &Model,
        name: &str,
        spec: &BackupSpec,
    ) -> Result<()> {
        let tracked = spec.disks.iter().filter(|d| d.tracked);
        let images = tracked.filter_map(|d| self.images.get(model.path_of(&d.key)?));
        let mut taken = model.checkpoints.iter().any(|(n, _)| n == name);
        taken |= images.map(|image| image.has_bitmap(name)).fold(false, |a, b| a | b);
        if taken {
            return Err(model.error(
                verb,
                Kind::AlreadyExists,
                &format!("checkpoint '{name}' exists already"),
            ));
        }
        Ok(())
    }

    fn snapshot(&self, verb: &'static str, model: &Model, disk: &BackupDisk) -> Result<Snapshot> {
        let missing =
            || model.error(verb, Kind::Invalid, &format!("it has no disk '{}' with an image", disk.key));
        let image = model.path_of(&disk.key).and_then(|path| self.images.get(path)).ok_or_else(missing)?;
        let dirty = match &disk.mode {
            BackupMode::Full => None,
            BackupMode::Incremental { since } => Some(model.dirty_since(verb, image, &disk.key, since)?),
        };
        Ok(Snapshot { size: image.size, content: image.content.clone(), dirty })
    }

    pub(super) fn delete_checkpoint(
        &mut self,
        verb: &'static str,
        id: MachineId,
        name: &str,
        how: Deletion,
    ) -> Result<()> {
        let model = self.model(verb, id)?;
        let at = model.place_of(verb, name)?;
        if how == Deletion::WithBitmaps {
            if model.power.is_off() {
                return Err(model.error(
                    verb,
                    Kind::NotRunning,
                    "its bitmaps can be deleted only while it runs",
                ));
            }
            let disks = model.checkpoints[at].1.clone();
            let sound = |key: &DiskKey| {
                model.path_of(key).and_then(|p| self.images.get(p)).is_some_and(|image| image.is_sound(name))
            };
            if let Some(broken) = disks.iter().find(|key| !sound(key)) {
                return Err(model.error(
                    verb,
                    Kind::BitmapBroken,
                    &format!("disk '{broken}' lost bitmap '{name}'"),
                ));
            }
            for key in &disks {
                let parent = self.model(verb, id)?.parent_on(at, key);
                self.image_of(verb, id, key)?.delete_bitmap(name, parent.as_deref());
            }
        }
        self.machine_mut(verb, id)?.checkpoints.remove(at);
        Ok(())
    }
}

impl Model {
    fn new(xml: String, text: MachineText) -> Model {
        Model {
            xml,
            text,
            power: PowerState::ShutOff { crashed: false },
            autostart: false,
            checkpoints: Vec::new(),
            backup: None,
            block_job: None,
            agent: GuestAgent::default(),
            heeds_shutdown: true,
            saved: false,
            has_run: false,
            unplugged: false,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.text.name
    }

    pub(super) fn error(&self, verb: &'static str, kind: Kind, detail: &str) -> HypervisorError {
        wrong(verb, kind, detail).of(&self.text.name)
    }

    pub(super) fn path_of(&self, disk: &DiskKey) -> Option<&PathBuf> {
        self.text.disks.iter().find(|d| d.key == *disk)?.source.path()
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.text.disks.iter().filter_map(|d| d.source.path()).cloned().collect()
    }

    /// That no job stands in a backup's way.
    pub(super) fn check_free(&self, verb: &'static str) -> Result<()> {
        if self.backup.is_some() {
            return Err(self.error(verb, Kind::Busy, "another backup is active"));
        }
        match &self.block_job {
            Some(job) => {
                let detail = format!("a block job ({}) runs on disk {}", job.what, job.disk);
                Err(self.error(verb, Kind::Busy, &detail))
            }
            None => Ok(()),
        }
    }

    fn place_of(&self, verb: &'static str, checkpoint: &str) -> Result<usize> {
        let missing =
            || self.error(verb, Kind::NoSuchCheckpoint, &format!("it has no checkpoint '{checkpoint}'"));
        self.checkpoints.iter().position(|(name, _)| name == checkpoint).ok_or_else(missing)
    }

    /// The newest checkpoint before place `at` in which the disk takes part.
    fn parent_on(&self, at: usize, disk: &DiskKey) -> Option<String> {
        let takes_part = |(_, disks): &&(String, Vec<DiskKey>)| disks.contains(disk);
        self.checkpoints[..at].iter().rev().find(takes_part).map(|(name, _)| name.clone())
    }

    fn dirty_since(
        &self,
        verb: &'static str,
        image: &Image,
        disk: &DiskKey,
        since: &str,
    ) -> Result<farshore_extent::Runs> {
        let at = self.place_of(verb, since)?;
        let on_disk = |(_, disks): &&(String, Vec<DiskKey>)| disks.contains(disk);
        if !on_disk(&&self.checkpoints[at]) {
            let detail = format!("disk '{disk}' takes no part in checkpoint '{since}'");
            return Err(self.error(verb, Kind::NoSuchCheckpoint, &detail));
        }
        let names: Vec<&str> =
            self.checkpoints[at..].iter().filter(on_disk).map(|(n, _)| n.as_str()).collect();
        image.dirty_since(&names).ok_or_else(|| {
            self.error(verb, Kind::BitmapBroken, &format!("disk '{disk}' has a missing or broken bitmap"))
        })
    }

    pub(super) fn checkpoints(&self) -> Vec<Checkpoint> {
        let last = self.checkpoints.len().saturating_sub(1);
        let describe = |(at, (name, disks)): (usize, &(String, Vec<DiskKey>))| Checkpoint {
            name: name.clone(),
            parent: at.checked_sub(1).map(|before| self.checkpoints[before].0.clone()),
            current: at == last,
            disks: disks.clone(),
        };
        self.checkpoints.iter().enumerate().map(describe).collect()
    }
}

fn tracking(disk: &DiskText) -> Tracking {
    let left_out = |why: &str| Tracking::LeftOut { why: why.to_owned() };
    match (disk.device.as_str(), disk.source.path(), disk.format.as_str()) {
        (_, None, _) => left_out("no content"),
        _ if disk.readonly => left_out("read-only"),
        _ if disk.shareable => left_out("shared with other machines; it is NOT protected"),
        ("disk", Some(_), "qcow2") => Tracking::Bitmap,
        ("disk", Some(_), format) => Tracking::Compare { why: format!("{format}: no change tracking") },
        (device, ..) => left_out(device),
    }
}

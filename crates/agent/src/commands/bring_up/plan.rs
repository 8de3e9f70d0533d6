//! What a machine will be here: its definition rewritten for this host, its firmware's
//! variables. Made and checked before anything changes. This module must never change
//! anything but the file of variables.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use farshore_capture::Definition;
use farshore_env::OpenMode;
use farshore_hypervisor::{
    Hypervisor,
    definition::{self, Overlay, Rewrite},
};
use farshore_replica::{NVRAM, PointInfo};
use farshore_types::{DiskKey, MachineId, PointId};

use crate::{
    Agent, AgentError, OpenReplica,
    control::{BroughtUp, PointChoice},
};

/// What a machine will be here.
pub(super) struct Plan {
    id: MachineId,
    pub(super) machine: String,
    pub(super) xml: String,
    disks: Vec<(DiskKey, PathBuf)>,
    without_disks: Vec<DiskKey>,
    nvram: Option<(PathBuf, Vec<u8>)>,
}

impl Plan {
    pub(super) async fn make(
        agent: &Agent,
        replica: &Arc<OpenReplica>,
        point: &PointInfo,
    ) -> Result<Plan, AgentError> {
        let id = point.id;
        let reader = agent.reader(replica, PointChoice::At(id)).await?;
        let packed = replica.run(move |_| reader.definition()).await?;
        let machine = replica.run(|store| store.name().to_owned()).await;
        let wrong = |why: String| AgentError::Definition { machine: machine.clone(), point: id, why };
        let mut sent = Definition::decode(&packed).map_err(|e| wrong(e.to_string()))?;
        // A machine that comes home has the definition that it had here.
        let home = agent.managed().and_then(|managed| managed.home_definition(agent, replica.machine()));
        let comes_home = home.as_ref().is_some_and(|home| names_all(home, &point.disks));
        if let Some(home) = home.filter(|_| comes_home) {
            sent.xml = home;
        }
        let text = definition::machine(&sent.xml).map_err(|e| wrong(e.to_string()))?;
        let dir = agent.replicas().dir_of(replica.machine());
        let overlay = |disk: &DiskKey| dir.join(format!("{disk}.active.qcow2"));
        let disks: Vec<_> = point.disks.iter().map(|(disk, _)| (disk.clone(), overlay(disk))).collect();
        let without_disks = absent(&text, &disks);
        let nvram = sent.nvram.map(|bytes| (dir.join(NVRAM), bytes));
        // Under a vault its mapping counts, and what that does not name is left unconnected.
        let mapped = agent.managed().and_then(|managed| managed.networks(replica.machine()));
        let mapped = mapped.map(|map| map.into_iter().map(|(there, here)| (there, Some(here))).collect());
        let mapped = if comes_home { Some(BTreeMap::new()) } else { mapped };
        let to = Rewrite {
            id: Some(replica.machine()),
            disks: disks.iter().map(|(disk, path)| (disk.clone(), qcow2(path))).collect(),
            add_disks: true,
            drop_disks: without_disks.iter().cloned().collect(),
            unplug_others: mapped.is_some() && !comes_home,
            networks: mapped.unwrap_or_else(|| networks(agent)),
            nvram: nvram.as_ref().map(|(path, _)| path.clone()),
            // An emulator that is elsewhere here is found by the hypervisor itself.
            emulator: text.emulator.as_ref().filter(|path| !path.exists()).map(|_| PathBuf::new()),
            ..Rewrite::default()
        };
        let xml = definition::rewrite(&sent.xml, &to).map_err(|e| wrong(e.to_string()))?;
        Ok(Plan { id: replica.machine(), machine: text.name, xml, disks, without_disks, nvram })
    }

    /// Whether this host can run it.
    pub(super) async fn check(&self, hypervisor: &dyn Hypervisor) -> Result<(), AgentError> {
        let problems = hypervisor.check_startable(&self.xml).await?;
        match problems.is_empty() {
            true => Ok(()),
            false => Err(AgentError::NotStartable { machine: self.machine.clone(), problems }),
        }
    }

    /// Puts the firmware's variables beside the overlays, unless they are there: then the
    /// machine has written them since.
    pub(super) fn write_nvram(&self, agent: &Agent) -> Result<(), AgentError> {
        let Some((path, bytes)) = self.nvram.as_ref().filter(|(path, _)| !path.exists()) else {
            return Ok(());
        };
        let new = path.with_extension("tmp");
        let write = || {
            let file = agent.files.open(&new, OpenMode::Truncate)?;
            file.write_at(bytes, 0)?;
            file.sync()?;
            agent.files.rename(&new, path)
        };
        write().map_err(AgentError::io("write", path))
    }

    /// The answer, once it is up.
    pub(super) fn told(
        self,
        point: &PointInfo,
        epoch: u64,
        already: bool,
        power: String,
        running_after_ms: Option<u64>,
    ) -> BroughtUp {
        let id: PointId = point.id;
        BroughtUp {
            id: self.id,
            machine: self.machine,
            point: id,
            captured_ms: point.captured_ms,
            epoch,
            already,
            power,
            running_after_ms,
            disks: self.disks,
            without_disks: self.without_disks,
        }
    }
}

/// Disks of the definition that did not travel: excluded ones, and those that no point
/// holds. Drives for CDs and floppies stay, empty.
fn absent(text: &definition::MachineText, disks: &[(DiskKey, PathBuf)]) -> Vec<DiskKey> {
    let travels = |key: &DiskKey| disks.iter().any(|(disk, _)| disk == key);
    let fixed = text.disks.iter().filter(|disk| matches!(disk.device.as_str(), "disk" | "lun"));
    fixed.map(|disk| disk.key.clone()).filter(|key| !travels(key)).collect()
}

/// Whether a definition names all these disks.
fn names_all(xml: &str, disks: &[(DiskKey, u64)]) -> bool {
    let Ok(text) = definition::machine(xml) else { return false };
    disks.iter().all(|(key, _)| text.disks.iter().any(|disk| disk.key == *key))
}

fn qcow2(path: &std::path::Path) -> Overlay {
    Overlay { path: path.to_owned(), format: "qcow2".to_owned() }
}

fn networks(agent: &Agent) -> BTreeMap<String, Option<String>> {
    let here = |network: &String| (!network.is_empty()).then(|| network.clone());
    agent.config().networks.iter().map(|(there, name)| (there.clone(), here(name))).collect()
}

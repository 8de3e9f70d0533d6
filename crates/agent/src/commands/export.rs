//! `export`: a point's disks as flat files, every cluster checked on its way. A file gets
//! its name only when it is whole. This module must never change a replica.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use farshore_delta::Place;
use farshore_env::OpenMode;
use farshore_replica::PointReader;
use farshore_types::{CLUSTER_BYTES, DiskKey};

use super::{qcow2_file, verify::millis};
use crate::{
    Agent, AgentError,
    control::{Advance, Export, Exported, ExportedDisk, Format, Observer},
    replicas::blocking,
};

/// Name's ending of a file that is not whole yet.
const UNFINISHED: &str = "unfinished";

pub(crate) async fn export(
    agent: &Arc<Agent>,
    wanted: Export,
    observer: &Observer,
) -> Result<Exported, AgentError> {
    let start = Instant::now();
    let replica = agent.replicas().find(&wanted.machine).await?;
    let machine = replica.run(|store| store.name().to_owned()).await;
    let stop = observer.stop.clone();
    let reader = agent.reader(&replica, wanted.point).await?.stopping_when(move || stop.is_cancelled());
    let point = reader.id();
    let (agent, observer, name) = (Arc::clone(agent), observer.clone(), machine.clone());
    let disks = blocking(move || write_disks(&agent, &reader, &name, &wanted, &observer)).await?;
    Ok(Exported { machine, point, disks, took_ms: millis(start) })
}

fn write_disks(
    agent: &Agent,
    reader: &PointReader,
    machine: &str,
    wanted: &Export,
    observer: &Observer,
) -> Result<Vec<ExportedDisk>, AgentError> {
    let disks = destinations(reader, machine, wanted)?;
    check_paths(agent, reader, &disks, wanted.force)?;
    for to in &disks {
        let advance = observer.advance(format!("exporting {} of point {}", to.disk, reader.id()));
        write_disk(agent, reader, to, wanted.format, advance)?;
    }
    Ok(disks)
}

/// Which disk goes where: to the file named, or to a file of its own in the directory named.
fn destinations(
    reader: &PointReader,
    machine: &str,
    wanted: &Export,
) -> Result<Vec<ExportedDisk>, AgentError> {
    let mut disks = reader.disks();
    if let Some(only) = &wanted.disk {
        // Names the disks there are where this one is not among them.
        reader.map(only).map(drop)?;
        disks.retain(|(disk, _)| disk == only);
    }
    let into_dir = wanted.to.is_dir();
    if disks.len() > 1 && !into_dir {
        return Err(AgentError::Request {
            what: format!(
                "{} disks are to be exported, and {} is no directory",
                disks.len(),
                wanted.to.display()
            ),
            advice: "create the directory, or choose one disk with --disk".to_owned(),
        });
    }
    // A machine's name comes from its source: it must not lead elsewhere.
    let machine = machine.replace(['/', '\0'], "_");
    let path = |disk: &DiskKey| match into_dir {
        true => wanted.to.join(format!("{machine}-{}-{disk}.{}", reader.id(), wanted.format)),
        false => wanted.to.clone(),
    };
    Ok(disks.into_iter().map(|(disk, size)| ExportedDisk { path: path(&disk), disk, size }).collect())
}

/// Everything that can be refused is refused before the first byte is written.
fn check_paths(
    agent: &Agent,
    reader: &PointReader,
    disks: &[ExportedDisk],
    force: bool,
) -> Result<(), AgentError> {
    if let Some(there) = disks.iter().find(|to| to.path.exists() && !force) {
        return Err(AgentError::Exists { path: there.path.clone() });
    }
    let Some(dir) = disks.first().map(|to| dir_of(&to.path)) else { return Ok(()) };
    let (mut need, free) = (0, agent.free_space(&dir)?);
    for to in disks {
        for entry in reader.map(&to.disk)? {
            need += if entry?.place == Place::Zero { 0 } else { CLUSTER_BYTES };
        }
    }
    match need > free {
        true => Err(AgentError::NoSpace { path: dir, need, free }),
        false => Ok(()),
    }
}

fn dir_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn write_disk(
    agent: &Agent,
    reader: &PointReader,
    to: &ExportedDisk,
    format: Format,
    mut advance: Advance,
) -> Result<(), AgentError> {
    let mut new = to.path.clone().into_os_string();
    new.push(format!(".{UNFINISHED}"));
    let new = PathBuf::from(new);
    let mut write = || {
        let file = agent.files.open(&new, OpenMode::Truncate).map_err(AgentError::io("create", &new))?;
        match format {
            Format::Raw => reader.export_raw(&to.disk, &*file, &mut |done, total| advance.at(done, total))?,
            Format::Qcow2 => {
                qcow2_file::write(reader, &to.disk, to.size, &*file, &mut |done| advance.at(done, to.size))?;
            }
        }
        let named = agent.files.rename(&new, &to.path).and_then(|()| agent.files.sync_dir(&dir_of(&to.path)));
        named.map_err(AgentError::io("write", &to.path))
    };
    let written = write();
    if written.is_err() {
        // The error that stopped it says more than one about the leftover would.
        drop(agent.files.remove(&new));
    }
    written
}

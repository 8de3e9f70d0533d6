//! The replica's own record: whose it is, who may write it, whether it was brought up.
//! One small file, replaced whole and durably.

use std::collections::BTreeMap;

use farshore_env::{Files, OpenMode, read_exact_at};
use farshore_types::{DiskKey, Epoch, MachineId, PointId};
use serde::{Deserialize, Serialize};

use crate::{
    ReplicaError,
    layout::{Layout, unfinished},
};

/// Version of the record; a newer one is refused.
const FORMAT: u32 = 1;

/// Longest record that is read, in bytes.
const RECORD_MAX: u64 = 16 << 20;

/// What the replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Phase {
    /// Taking cycles from the source.
    Receiving,
    /// Being set to a point; finished by the next open where this one was cut.
    BringingUp {
        /// The point.
        point: PointId,
    },
    /// The machine runs (or ran) here on overlays; nothing may touch the images.
    BroughtUp {
        /// The point.
        point: PointId,
    },
}

/// A point that must not be pruned, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The point.
    pub point: PointId,
    /// Who holds it, in words.
    pub holder: String,
}

/// An existing disk that became the backing file of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Its path; relative to the replica's directory where it was moved into it.
    pub path: String,
    /// Its format as QEMU names it.
    pub format: String,
    /// Size of the disk in it, in bytes.
    #[serde(default = "any_size")]
    pub size: u64,
}

/// Of a disk whose size was not recorded, any byte may be in it.
fn any_size() -> u64 {
    u64::MAX
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    pub(crate) machine: MachineId,
    pub(crate) name: String,
    pub(crate) epoch: Epoch,
    pub(crate) session: u64,
    pub(crate) phase: Phase,
    pub(crate) pins: Vec<Pin>,
    pub(crate) adopted: BTreeMap<DiskKey, Adopted>,
    /// The host whose agent wrote last.
    #[serde(default)]
    pub(crate) writer: Option<String>,
}

impl State {
    pub(crate) fn new(machine: MachineId, name: &str) -> State {
        State {
            format: FORMAT,
            machine,
            name: name.to_owned(),
            epoch: Epoch { number: 0, token: 0 },
            session: 0,
            phase: Phase::Receiving,
            pins: Vec::new(),
            adopted: BTreeMap::new(),
            writer: None,
        }
    }

    /// Reads the record; `None` where there is none.
    pub(crate) fn load(files: &dyn Files, layout: &Layout) -> Result<Option<State>, ReplicaError> {
        let path = layout.state();
        let io =
            |source| ReplicaError::Io { what: "reading the record", dir: layout.dir().to_owned(), source };
        let file = match files.open(&path, OpenMode::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io)?,
        };
        let size = file.size().map_err(io)?.min(RECORD_MAX);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        read_exact_at(&*file, &mut bytes, 0).map_err(io)?;
        let refuse = |why: String| ReplicaError::State { path: path.clone(), why };
        let state: State = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
        match state.format {
            FORMAT => Ok(Some(state)),
            newer => Err(refuse(format!("it has format {newer}, this agent knows {FORMAT}"))),
        }
    }

    /// Replaces the record, durably.
    pub(crate) fn save(&self, files: &dyn Files, layout: &Layout) -> Result<(), ReplicaError> {
        let io =
            |source| ReplicaError::Io { what: "writing the record", dir: layout.dir().to_owned(), source };
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| io(e.into()))?;
        let (path, new) = (layout.state(), unfinished(&layout.state()));
        let write = || {
            let file = files.open(&new, OpenMode::Truncate)?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
            files.rename(&new, &path)?;
            files.sync_dir(layout.dir())
        };
        write().map_err(io)
    }
}

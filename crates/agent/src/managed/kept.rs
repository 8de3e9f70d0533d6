//! What a managed agent keeps on disk: one small file, replaced whole, durable before
//! anything that is written there is acted on (rule R2). This module must never judge it.

use std::path::{Path, PathBuf};

use farshore_control::{Document, Term, ownership::Lineage, request::Outcome};
use farshore_env::{Files, OpenMode, read_exact_at};
use farshore_types::{MachineId, RequestId};
use serde::{Deserialize, Serialize};

use super::life::Station;
use crate::AgentError;

/// Name of the file in the agent's state directory.
const FILE: &str = "managed.json";
/// Version of the file; a newer one is refused.
const FORMAT: u32 = 1;
/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 256 << 20;

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Version of the file.
    pub format: u32,
    /// The highest term heard of.
    pub term: Option<Term>,
    /// The documents held.
    pub documents: Vec<Document>,
    /// What is held of each machine's lineage.
    pub lineages: Vec<Lineage>,
    /// Requests that were begun, and those that ended and are not acknowledged.
    pub requests: Vec<KeptRequest>,
    /// Requests whose outcome was acknowledged, oldest first: none is done again.
    #[serde(default)]
    pub past: Vec<RequestId>,
    /// In which term each of those ended: a vault of a later one may ask again.
    #[serde(default)]
    pub past_in: Vec<(RequestId, u64)>,
    /// Where replicas are that are not in the default place.
    #[serde(default)]
    pub places: Vec<(MachineId, PathBuf)>,
    /// How this host stands with each machine that has a life.
    #[serde(default)]
    pub stations: Vec<Station>,
}

/// A request that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRequest {
    /// Which.
    pub id: RequestId,
    /// How it ended; none: it was begun, and nobody knows how far it came.
    pub outcome: Option<Outcome>,
}

impl Kept {
    /// Reads the file. One that is damaged is moved aside: what it said comes again from
    /// above, and nothing is ended by its absence (rule R5). Says then what happened.
    ///
    /// # Errors
    /// Where the system fails, or the file is of a newer agent.
    pub(super) fn load(files: &dyn Files, dir: &Path) -> Result<(Kept, Option<String>), AgentError> {
        let path = dir.join(FILE);
        let read = || -> std::io::Result<Vec<u8>> {
            let file = files.open(&path, OpenMode::Read)?;
            let size = usize::try_from(file.size()?.min(FILE_MAX)).unwrap_or(0);
            let mut bytes = vec![0; size];
            read_exact_at(&*file, &mut bytes, 0)?;
            Ok(bytes)
        };
        let bytes = match read() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Kept::default(), None)),
            bytes => bytes.map_err(AgentError::io("read", &path))?,
        };
        match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.format <= FORMAT => Ok((kept, None)),
            Ok(kept) => Err(AgentError::Request {
                what: format!("{} has format {}, this agent knows {FORMAT}", path.display(), kept.format),
                advice: "a newer agent wrote it: start that one".to_owned(),
            }),
            Err(error) => {
                let aside = path.with_extension("damaged");
                files.rename(&path, &aside).map_err(AgentError::io("move aside", &path))?;
                let what = format!("{} was damaged ({error}) and is {} now", path.display(), aside.display());
                Ok((Kept::default(), Some(what)))
            }
        }
    }

    /// Replaces the file, durably.
    ///
    /// # Errors
    /// As the system reports; which content is on disk is not known then.
    pub(super) fn save(mut self, files: &dyn Files, dir: &Path) -> Result<(), AgentError> {
        self.format = FORMAT;
        let path = dir.join(FILE);
        let new = path.with_extension("tmp");
        let write = || {
            let text = serde_json::to_vec(&self)?;
            files.create_dir_all(dir)?;
            let file = files.open(&new, OpenMode::Truncate)?;
            file.write_at(&text, 0)?;
            file.sync()?;
            files.rename(&new, &path)?;
            files.sync_dir(dir)
        };
        write().map_err(AgentError::io("write", &path))
    }
}

#[cfg(test)]
mod tests;

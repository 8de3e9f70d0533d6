//! `adopt`. This module must never look at a copy itself.

use std::path::PathBuf;

use farshore_types::DiskKey;

use crate::{
    AgentError,
    control::{Adopt, Request},
};

/// Makes old copies of a machine's disks the base of its replica on this host.
///
/// For a machine that has no recovery point here yet: its source then finds out what differs
/// and sends only that. The copies (raw or qcow2, from a medium, a backup, an old primary)
/// are moved into the replica; they must be on its file system, and nobody may use them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  farshore-agent adopt 6f1de0b2-9a43-4d5c-8a0e-0123456789ab --disk vda=/srv/old/web1.qcow2\n  farshore-agent adopt web1 --disk vda=/media/web1-a.raw --disk vdb=/media/web1-b.raw"
)]
#[command(verbatim_doc_comment)]
pub(super) struct AdoptArgs {
    /// The machine's UUID; or its name, where this host knows it.
    machine: String,
    /// A disk and its copy; once for each disk.
    #[arg(long, value_name = "DISK=PATH", value_parser = disk, required = true)]
    disk: Vec<(DiskKey, PathBuf)>,
}

fn disk(text: &str) -> Result<(DiskKey, PathBuf), String> {
    let (disk, path) = text.split_once('=').ok_or("expected DISK=PATH, such as vda=/srv/old/web1.qcow2")?;
    Ok((disk.parse().map_err(|e: farshore_types::NameError| e.to_string())?, path.into()))
}

impl AdoptArgs {
    pub(super) fn request(self) -> Result<Request, AgentError> {
        // The agent has another working directory.
        let absolute = |(disk, path): (DiskKey, PathBuf)| {
            std::path::absolute(&path).map(|absolute| (disk, absolute)).map_err(AgentError::io("find", path))
        };
        let disks = self.disk.into_iter().map(absolute).collect::<Result<_, _>>()?;
        Ok(Request::Adopt(Adopt { machine: self.machine, disks }))
    }
}

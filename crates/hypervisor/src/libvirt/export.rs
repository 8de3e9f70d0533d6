//! A disk of a running backup, read over NBD. This module must never know libvirt.

use async_trait::async_trait;
use bytes::Bytes;
use farshore_extent::{Run, Runs};
use farshore_nbd::{Client, Error, Options, Status};
use farshore_types::{DiskKey, MachineId};

use super::backup::bitmap_export;
use crate::{Backup, Export, HypervisorError, Kind, Result};

const ALLOCATION: &str = "base:allocation";

/// One disk's export.
struct NbdExport {
    machine: MachineId,
    client: Client,
    /// The metadata context of its dirty bitmap.
    dirty: Option<String>,
}

pub(super) async fn open(backup: &Backup, disk: &DiskKey) -> Result<Box<dyn Export>> {
    const WHAT: &str = "open a disk in the backup of";
    let exported = backup.exports.iter().find(|e| e.key == *disk).ok_or_else(|| {
        HypervisorError::new(WHAT, Kind::Invalid, format!("the backup has no disk '{disk}'"))
            .of(backup.machine)
    })?;
    let dirty = exported.incremental.then(|| format!("qemu:dirty-bitmap:{}", bitmap_export(disk)));
    let mut options = Options::export(disk.as_str());
    options.contexts = [ALLOCATION.to_owned()].into_iter().chain(dirty.clone()).collect();
    let client = Client::connect_unix(&backup.socket, options).await;
    let client = client.map_err(|error| failed(WHAT, backup.machine, &error))?;
    Ok(Box::new(NbdExport { machine: backup.machine, client, dirty }))
}

impl NbdExport {
    async fn runs_where(
        &self,
        context: &str,
        range: Run,
        wanted: impl Fn(u32) -> bool,
    ) -> Result<Runs, Error> {
        if range.len == 0 {
            return Ok(Runs::new());
        }
        let statuses = self.client.block_status(context, range).await?;
        Ok(statuses.into_iter().filter(|s| wanted(s.flags)).map(|s| s.run).collect())
    }

    fn failed(&self, operation: &'static str, error: &Error) -> HypervisorError {
        failed(operation, self.machine, error)
    }
}

#[async_trait]
impl Export for NbdExport {
    fn size(&self) -> u64 {
        self.client.size()
    }

    fn max_read(&self) -> u32 {
        self.client.max_read()
    }

    async fn allocated(&self, range: Run) -> Result<Runs> {
        // A hole that does not promise zeros is read like data.
        let runs = self.runs_where(ALLOCATION, range, |flags| flags & Status::ZERO == 0).await;
        runs.map_err(|error| self.failed("find the data of", &error))
    }

    async fn dirty(&self, range: Run) -> Result<Option<Runs>> {
        let Some(context) = &self.dirty else { return Ok(None) };
        let runs = self.runs_where(context, range, |flags| flags & Status::DIRTY != 0).await;
        runs.map(Some).map_err(|error| self.failed("find the changes of", &error))
    }

    async fn read(&self, offset: u64, len: u32) -> Result<Bytes> {
        self.client.read(offset, len).await.map_err(|error| self.failed("read a disk of", &error))
    }
}

fn failed(operation: &'static str, machine: MachineId, error: &Error) -> HypervisorError {
    let kind = match error {
        Error::Connect { .. } | Error::Lost { .. } => Kind::Connection,
        Error::Deadline { .. } => Kind::Timeout,
        Error::Invalid { .. } => Kind::Invalid,
        Error::Protocol { .. } | Error::Refused { .. } | Error::Server { .. } => Kind::Other,
    };
    let error = HypervisorError::new(operation, kind, error.to_string()).of(machine);
    error.advise("end this backup and begin another")
}

//! Block jobs: what runs on single disks, and the one kind of ours, by which a disk gets into
//! its own image what it reads from below. This module must never end another tool's job.

use farshore_types::{DiskKey, MachineId};
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

use super::{
    backup,
    fault::{Call, Fault},
    ffi, lookup,
};
use crate::{BlockJob, Kind};

/// What a pull is called.
const PULL: &str = "pull";

pub(super) fn begin(connection: &Connect, id: MachineId, disk: &DiskKey, rate: u64) -> Call<()> {
    let domain = lookup::started(connection, id)?;
    // libvirt would wait 30 s for another job's lock before it says so.
    if ffi::job(&domain)?.runs() {
        return Err(Fault::new(Kind::Busy, "another job is active"));
    }
    match job_on(&domain, disk)? {
        Some(job) if job.what == PULL => Ok(()),
        Some(job) => Err(in_the_way(&job)),
        None => Ok(ffi::block_pull(&domain, disk.as_str(), rate)?),
    }
}

pub(super) fn end(connection: &Connect, id: MachineId, disk: &DiskKey) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    if !domain.is_active()? {
        return Ok(());
    }
    match job_on(&domain, disk)? {
        None => Ok(()),
        Some(job) if job.what != PULL => Err(in_the_way(&job)),
        Some(_) => match ffi::block_job_abort(&domain, disk.as_str()) {
            // It may have ended by itself meanwhile.
            Err(_) if !domain.is_active()? || job_on(&domain, disk)?.is_none() => Ok(()),
            ended => Ok(ended?),
        },
    }
}

fn in_the_way(job: &BlockJob) -> Fault {
    Fault::new(Kind::Busy, format!("a block job ({}) runs on disk {}", job.what, job.disk))
}

fn job_on(domain: &Domain, disk: &DiskKey) -> Call<Option<BlockJob>> {
    Ok(block_jobs_of(domain)?.into_iter().find(|job| job.disk == *disk))
}

pub(super) fn block_jobs(connection: &Connect, id: MachineId) -> Call<Vec<BlockJob>> {
    let domain = lookup::domain(connection, id)?;
    if domain.is_active()? { block_jobs_of(&domain) } else { Ok(Vec::new()) }
}

pub(super) fn block_jobs_of(domain: &Domain) -> Call<Vec<BlockJob>> {
    let mut out = Vec::new();
    for disk in backup::keys(domain)? {
        // An empty drive has no block jobs, and libvirt refuses the question.
        if let Ok(Some((kind, done, total))) = ffi::block_job(domain, disk.as_str()) {
            out.push(BlockJob { disk, what: block_job_name(kind).to_owned(), done, total });
        }
    }
    Ok(out)
}

fn block_job_name(kind: i32) -> &'static str {
    match u32::try_from(kind).unwrap_or(0) {
        sys::VIR_DOMAIN_BLOCK_JOB_TYPE_PULL => "pull",
        sys::VIR_DOMAIN_BLOCK_JOB_TYPE_COPY => "copy",
        sys::VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT => "commit",
        sys::VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT => "active commit",
        sys::VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP => "backup",
        _ => "unknown",
    }
}

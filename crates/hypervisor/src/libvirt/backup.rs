//! Backups in pull mode: QEMU serves the instant over NBD on a unix socket. This module must
//! never read a disk.

use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use farshore_types::{DiskKey, MachineId};
use quick_xml::escape::escape;
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

use super::{
    fault::{Call, Fault},
    ffi, lookup, pull,
};
use crate::{Backup, BackupDisk, BackupMode, BackupSpec, Exported, JobState, Kind, definition};

/// Longest path of a unix socket, in bytes (the kernel's limit).
const MAX_SOCKET_PATH: usize = 107;
/// Longest wait for an aborted backup to be gone; ends before the call's own deadline does.
const END_WAIT: Duration = Duration::from_secs(50);
/// How often an ending job is looked at.
const END_POLL: Duration = Duration::from_millis(5);

pub(super) fn begin(connection: &Connect, id: MachineId, spec: &BackupSpec) -> Call<Backup> {
    let domain = lookup::started(connection, id)?;
    check(spec)?;
    // libvirt would wait 30 s for another job's lock before it says so.
    if let Some(obstacle) = obstacle(&domain)? {
        return Err(Fault::new(Kind::Busy, obstacle));
    }
    let all = keys(&domain)?;
    if let Some(missing) = spec.disks.iter().find(|disk| !all.contains(&disk.key)) {
        return Err(Fault::new(Kind::Invalid, format!("it has no disk '{}'", missing.key)));
    }
    let checkpoint = spec.checkpoint.as_ref().map(|name| checkpoint_xml(name, spec, &all));
    ffi::backup_begin(&domain, &backup_xml(spec, &all), checkpoint.as_deref())?;
    let exported = |disk: &BackupDisk| Exported {
        key: disk.key.clone(),
        incremental: matches!(disk.mode, BackupMode::Incremental { .. }),
    };
    Ok(Backup {
        machine: id,
        socket: spec.socket.clone(),
        exports: spec.disks.iter().map(exported).collect(),
    })
}

fn check(spec: &BackupSpec) -> Call<()> {
    let length = spec.socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let detail = format!("the socket's path has {length} bytes, more than {MAX_SOCKET_PATH}");
        return Err(Fault::new(Kind::Invalid, detail).advise("use a shorter directory for sockets"));
    }
    if spec.disks.is_empty() {
        return Err(Fault::new(Kind::Invalid, "no disk was named"));
    }
    Ok(())
}

/// What stands in the way of a backup now.
fn obstacle(domain: &Domain) -> Call<Option<String>> {
    let job = ffi::job(domain)?;
    if job.runs() {
        let what = if job.is_backup() { "another backup is active" } else { "another job is active" };
        return Ok(Some(what.to_owned()));
    }
    let block_job = pull::block_jobs_of(domain)?.into_iter().next();
    Ok(block_job.map(|job| format!("a block job ({}) runs on disk {}", job.what, job.disk)))
}

/// All disks that the machine has now.
pub(super) fn keys(domain: &Domain) -> Call<Vec<DiskKey>> {
    Ok(definition::machine(&domain.get_xml_desc(0)?)?.disks.into_iter().map(|d| d.key).collect())
}

fn backup_xml(spec: &BackupSpec, all: &[DiskKey]) -> String {
    let mut xml = format!(
        "<domainbackup mode='pull'><server transport='unix' socket='{}'/><disks>",
        text(&spec.socket)
    );
    for key in all {
        match spec.disks.iter().find(|disk| disk.key == *key) {
            Some(disk) => push(&mut xml, &backup_disk_xml(disk)),
            None => push(&mut xml, &format!("<disk name='{key}' backup='no'/>")),
        }
    }
    xml + "</disks></domainbackup>"
}

fn backup_disk_xml(disk: &BackupDisk) -> String {
    let mode = match &disk.mode {
        BackupMode::Full => "backupmode='full'".to_owned(),
        BackupMode::Incremental { since } => {
            let bitmap = bitmap_export(&disk.key);
            format!("backupmode='incremental' incremental='{}' exportbitmap='{bitmap}'", escape(since))
        }
    };
    format!(
        "<disk name='{key}' backup='yes' type='file' exportname='{key}' {mode}>\
         <driver type='qcow2'/><scratch file='{scratch}'/></disk>",
        key = disk.key,
        scratch = text(&disk.scratch),
    )
}

/// Name under which a disk's changes are served.
pub(super) fn bitmap_export(disk: &DiskKey) -> String {
    format!("backup-{disk}")
}

fn checkpoint_xml(name: &str, spec: &BackupSpec, all: &[DiskKey]) -> String {
    let mut xml = format!("<domaincheckpoint><name>{}</name><disks>", escape(name));
    for key in all {
        let tracked = spec.disks.iter().any(|disk| disk.tracked && disk.key == *key);
        let kind = if tracked { "bitmap" } else { "no" };
        push(&mut xml, &format!("<disk name='{key}' checkpoint='{kind}'/>"));
    }
    xml + "</disks></domaincheckpoint>"
}

fn push(xml: &mut String, part: &str) {
    // Writing to a string cannot fail.
    let _infallible = xml.write_str(part);
}

fn text(path: &Path) -> String {
    escape(path.to_string_lossy()).into_owned()
}

/// Ends the backup and waits until it is gone: libvirt's abort returns before that, and a
/// commit or a new backup right after it would be refused.
pub(super) fn end(connection: &Connect, id: MachineId) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    let started = Instant::now();
    let mut asked = false;
    loop {
        let job = if domain.is_active()? { ffi::job(&domain)? } else { ffi::Job::default() };
        if !job.runs() {
            return Ok(());
        }
        if !job.is_backup() {
            return if asked { Ok(()) } else { Err(Fault::new(Kind::Busy, "the active job is no backup")) };
        }
        if !asked {
            abort(&domain)?;
            asked = true;
        }
        if started.elapsed() > END_WAIT {
            let fault = Fault::new(Kind::Timeout, "the backup does not end although it was aborted");
            return Err(fault.advise(
                "where a disk was unplugged meanwhile, libvirt waits for it for ever: restart libvirt (the agent, \
                 where libvirt runs inside it)",
            ));
        }
        std::thread::sleep(END_POLL);
    }
}

fn abort(domain: &Domain) -> Call<()> {
    match ffi::abort_job(domain) {
        // It may have ended by itself meanwhile.
        Err(_) if !domain.is_active()? || !ffi::job(domain)?.runs() => Ok(()),
        other => Ok(other?),
    }
}

pub(super) fn job(connection: &Connect, id: MachineId) -> Call<JobState> {
    let domain = lookup::domain(connection, id)?;
    if !domain.is_active()? {
        return Ok(JobState::None);
    }
    let job = ffi::job(&domain)?;
    if !job.runs() {
        return Ok(JobState::None);
    }
    if !job.is_backup() {
        return Ok(JobState::Other(operation_name(job.operation).to_owned()));
    }
    Ok(JobState::Backup {
        socket: socket_of(&domain),
        scratch_used: job.scratch_used,
        scratch_total: job.scratch_total,
    })
}

/// The socket of the running backup; none where it is pushed, or ended this moment.
fn socket_of(domain: &Domain) -> Option<std::path::PathBuf> {
    let backup = definition::parse(&ffi::backup_xml(domain).ok()?).ok()?;
    backup.child_attribute("server", "socket").map(Into::into)
}

fn operation_name(operation: i32) -> &'static str {
    match u32::try_from(operation).unwrap_or(0) {
        sys::VIR_DOMAIN_JOB_OPERATION_START => "start",
        sys::VIR_DOMAIN_JOB_OPERATION_SAVE => "save",
        sys::VIR_DOMAIN_JOB_OPERATION_RESTORE => "restore",
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN => "migration to this host",
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT => "migration to another host",
        sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT => "snapshot",
        sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT => "revert to a snapshot",
        sys::VIR_DOMAIN_JOB_OPERATION_DUMP => "core dump",
        _ => "unknown job",
    }
}

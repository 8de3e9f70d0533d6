//! A host and its machines as libvirt describes them. This module must never change anything.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use farshore_types::MachineId;
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

use super::{
    device,
    fault::{Call, Fault},
    ffi, lookup,
};
use crate::{
    Disk, HostFacts, Kind, Machine, PowerState, Tracking,
    definition::{self, DiskSource, DiskText},
};

/// How often a machine that stops this moment is looked at, at most.
const STOPPING_TRIES: u32 = 40;
/// How long to wait in between.
const STOPPING_POLL: Duration = Duration::from_millis(50);
/// What every qcow2 image starts with.
const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";
/// First version of qcow2 that can keep bitmaps.
const QCOW2_WITH_BITMAPS: u32 = 3;

pub(super) fn host_facts(connection: &Connect) -> Call<HostFacts> {
    let capabilities = definition::parse(&connection.get_capabilities()?)?;
    let arch = capabilities.at(&["host", "cpu"]).and_then(|cpu| cpu.child_text("arch")).unwrap_or_default();
    Ok(HostFacts {
        hypervisor: connection.get_type()?,
        libvirt_version: version(connection.get_lib_version()?),
        qemu_version: connection.get_hyp_version().ok().filter(|v| *v > 0).map(version),
        uri: connection.get_uri()?,
        arch: arch.to_owned(),
        networks: super::networks::started(connection),
    })
}

/// libvirt's way to write versions: 11003000 is 11.3.0.
fn version(number: u32) -> String {
    format!("{}.{}.{}", number / 1_000_000, number / 1000 % 1000, number % 1000)
}

pub(super) fn machines(connection: &Connect) -> Call<Vec<Machine>> {
    let mut out = Vec::new();
    for domain in connection.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_PERSISTENT)? {
        match describe(&domain) {
            Ok(machine) => out.push(machine),
            Err(fault) if fault.kind == Kind::NoSuchMachine => {}
            Err(fault) => return Err(fault),
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(out)
}

pub(super) fn machine(connection: &Connect, id: MachineId) -> Call<Machine> {
    describe(&lookup::domain(connection, id)?)
}

pub(super) fn find(connection: &Connect, name_or_uuid: &str) -> Call<Machine> {
    let by_id = name_or_uuid.parse().ok().map(|id| lookup::domain(connection, id));
    match by_id {
        Some(Ok(domain)) => describe(&domain),
        _ => describe(&Domain::lookup_by_name(connection, name_or_uuid)?),
    }
}

/// Describes a machine. One that stops this very moment is looked at again: its disks must
/// not look missing because QEMU went away while being asked about them.
fn describe(domain: &Domain) -> Call<Machine> {
    for _ in 1..STOPPING_TRIES {
        match describe_once(domain) {
            Err(fault) if fault.kind == Kind::NotRunning => std::thread::sleep(STOPPING_POLL),
            other => return other,
        }
    }
    describe_once(domain)
}

fn describe_once(domain: &Domain) -> Call<Machine> {
    let text = domain.get_xml_desc(sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE)?;
    let power = power(domain)?;
    // A running machine's disks are those it uses now, which may differ from the next start's.
    let now = if power.is_off() { text.clone() } else { domain.get_xml_desc(0)? };
    let now = definition::machine(&now)?;
    let off = power.is_off();
    let pulled = || !off && is_pulled(domain, &now.disks);
    let disk = |disk| describe_disk(domain, disk, off, &pulled);
    Ok(Machine {
        id: lookup::id_of(domain)?,
        name: domain.get_name()?,
        saved: off && domain.has_managed_save(0)?,
        power,
        disks: now.disks.iter().map(disk).collect::<Call<_>>()?,
        nics: now.nics,
        definition: text,
        autostart: domain.get_autostart()?,
        nvram: now.nvram,
    })
}

pub(super) fn power(domain: &Domain) -> Call<PowerState> {
    let (state, reason) = domain.get_state()?;
    let reason = u32::try_from(reason).unwrap_or(0);
    Ok(match state {
        sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED | sys::VIR_DOMAIN_SHUTDOWN => PowerState::Running,
        sys::VIR_DOMAIN_PAUSED => PowerState::Paused {
            io_error: reason == sys::VIR_DOMAIN_PAUSED_IOERROR,
            reason: paused_reason(reason).to_owned(),
        },
        sys::VIR_DOMAIN_SHUTOFF => PowerState::ShutOff {
            crashed: matches!(reason, sys::VIR_DOMAIN_SHUTOFF_CRASHED | sys::VIR_DOMAIN_SHUTOFF_FAILED),
        },
        sys::VIR_DOMAIN_CRASHED => PowerState::Other("crashed, kept for inspection".to_owned()),
        sys::VIR_DOMAIN_PMSUSPENDED => PowerState::Other("suspended by its own power management".to_owned()),
        other => PowerState::Other(format!("libvirt's state {other}")),
    })
}

/// Whether the guest has asked anything of its disks. Reads of a backup count elsewhere.
pub(super) fn has_run(connection: &Connect, id: MachineId) -> Call<bool> {
    let domain = lookup::domain(connection, id)?;
    if !domain.is_active()? {
        return Ok(false);
    }
    for disk in machine(connection, id)?.disks {
        let stats = domain.get_block_stats(disk.key.as_str())?;
        if stats.rd_req > 0 || stats.wr_req > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn paused_reason(reason: u32) -> &'static str {
    match reason {
        sys::VIR_DOMAIN_PAUSED_USER => "by request",
        sys::VIR_DOMAIN_PAUSED_MIGRATION => "migration",
        sys::VIR_DOMAIN_PAUSED_SAVE => "save to a file",
        sys::VIR_DOMAIN_PAUSED_DUMP => "core dump",
        sys::VIR_DOMAIN_PAUSED_IOERROR => "a write to its storage failed",
        sys::VIR_DOMAIN_PAUSED_WATCHDOG => "watchdog",
        sys::VIR_DOMAIN_PAUSED_FROM_SNAPSHOT => "restored from a snapshot",
        sys::VIR_DOMAIN_PAUSED_SHUTTING_DOWN => "shutting down",
        sys::VIR_DOMAIN_PAUSED_SNAPSHOT => "a snapshot is taken",
        sys::VIR_DOMAIN_PAUSED_CRASHED => "the guest crashed",
        sys::VIR_DOMAIN_PAUSED_STARTING_UP => "starting up",
        _ => "unknown",
    }
}

/// Whether a block pull runs. While one ends, QEMU 10.0 must not be asked for its block nodes: it
/// then follows a filter that has lost its child already, and dies of that (seen), guest and all.
/// To be asked for its jobs does no harm, and where there are none, libvirt knows that itself.
fn is_pulled(domain: &Domain, disks: &[DiskText]) -> bool {
    let content = |disk: &&DiskText| !matches!(disk.source, DiskSource::None);
    disks.iter().filter(content).any(|disk| !matches!(ffi::block_job(domain, disk.key.as_str()), Ok(None)))
}

fn describe_disk(domain: &Domain, disk: &DiskText, off: bool, pulled: &impl Fn() -> bool) -> Call<Disk> {
    let has_content = !matches!(disk.source, DiskSource::None);
    let ask = || match size_in_image(disk) {
        Some(size) if disk.format == "qcow2" || pulled() => Ok(size),
        None if pulled() => Err(Fault::new(Kind::Busy, "its size cannot be told while layers are pulled")),
        _ => domain.get_block_info(disk.key.as_str(), 0).map(|info| info.capacity).map_err(Fault::from),
    };
    let (size, tracking) = match has_content.then(ask) {
        Some(Ok(size)) => (size, tracking(disk)),
        Some(Err(fault)) if matches!(fault.kind, Kind::NotRunning | Kind::Connection | Kind::Timeout) => {
            return Err(fault);
        }
        // Only the definition may leave a disk out: what cannot be looked at now (a machine
        // that is locked, a storage that is away for a moment) may be back at the next look.
        Some(Err(fault)) => {
            let unknown = || unknown(&format!("its image cannot be opened: {}", fault.detail));
            (0, left_out_by_definition(disk).unwrap_or_else(unknown))
        }
        None => (0, tracking(disk)),
    };
    Ok(Disk {
        stamp: disk.source.path().and_then(|path| stamp(path, off)),
        layered: disk.format == "qcow2" && disk.source.path().is_some_and(|path| is_layered(path)),
        path: disk.source.path().cloned(),
        key: disk.key.clone(),
        format: disk.format.clone(),
        size,
        tracking,
        discard: disk.discard,
    })
}

/// What differs once a file or device is written, or is another one. Of a device that is in use
/// nothing is asked: it would have to be flushed for that.
fn stamp(path: &Path, off: bool) -> Option<String> {
    let m = std::fs::metadata(path).ok()?;
    if !m.is_file() {
        return off.then(|| device::stamp(path, &m)).flatten();
    }
    let (modified, changed) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
    Some(format!("{}:{}:{}:{modified:?}:{changed:?}", m.dev(), m.ino(), m.size()))
}

/// How changes of the disk are found, by what its definition and its image's header say.
fn tracking(disk: &DiskText) -> Tracking {
    if let Some(left_out) = left_out_by_definition(disk) {
        return left_out;
    }
    match (disk.format.as_str(), &disk.source) {
        ("qcow2", DiskSource::File(path) | DiskSource::Block(path)) => tracking_of_qcow2(path),
        ("raw", _) => compare("raw: no change tracking; read whole and compared by digest each cycle"),
        (other, _) => {
            compare(&format!("{other}: no change tracking; read whole and compared by digest each cycle"))
        }
    }
}

/// Why the definition alone keeps a disk from being replicated, if it does.
fn left_out_by_definition(disk: &DiskText) -> Option<Tracking> {
    let why = match (disk.device.as_str(), &disk.source) {
        ("cdrom", _) => "a CD drive",
        ("floppy", _) => "a floppy drive",
        ("lun", _) => {
            "a SCSI device passed through, whose writes bypass QEMU; it is NOT protected; use device='disk'"
        }
        _ if disk.readonly => "read-only",
        _ if disk.shareable => {
            "shared with other machines, whose writes this host does not see; it is NOT protected"
        }
        _ if disk.transient => "transient: its changes are thrown away at every stop",
        (_, DiskSource::None) => "no content",
        (_, DiskSource::Other(kind)) => {
            return Some(left_out(&format!(
                "its source is of type '{kind}', which is not supported; it is NOT protected"
            )));
        }
        (_, DiskSource::File(_) | DiskSource::Block(_)) => return None,
    };
    Some(left_out(why))
}

fn tracking_of_qcow2(path: &Path) -> Tracking {
    match qcow2_version(path) {
        Ok(Some(version)) if version >= QCOW2_WITH_BITMAPS => Tracking::Bitmap,
        Ok(Some(version)) => compare(&format!(
            "qcow2 version {version} cannot keep bitmaps (qemu-img amend -o compat=1.1 while it is off changes \
             that); read whole and compared by digest each cycle"
        )),
        Ok(None) => unknown("defined as qcow2, but its image is not"),
        Err(error) => unknown(&format!("its image cannot be read: {error}")),
    }
}

fn qcow2_version(path: &Path) -> std::io::Result<Option<u32>> {
    let mut head = [0; 8];
    File::open(path)?.read_exact(&mut head)?;
    let (magic, version) = head.split_at(4);
    let version = version.iter().fold(0, |acc: u32, b| acc << 8 | u32::from(*b));
    Ok((magic == QCOW2_MAGIC).then_some(version))
}

/// A disk's size by its image alone; none where that does not tell.
fn size_in_image(disk: &DiskText) -> Option<u64> {
    let mut file = File::open(disk.source.path()?).ok()?;
    if disk.format == "raw" {
        // Of a device, its file's own size says nothing.
        return file.seek(SeekFrom::End(0)).ok();
    }
    let mut head = [0; 32];
    file.read_exact(&mut head).ok()?;
    let size = u64::from_be_bytes(head[24..].try_into().ok()?);
    (disk.format == "qcow2" && head[..4] == QCOW2_MAGIC).then_some(size)
}

/// Whether a qcow2 image names another one below it: the place of that name follows the version.
/// One that cannot be read names none; that it cannot is found out elsewhere.
fn is_layered(path: &Path) -> bool {
    let mut head = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head[..4] == QCOW2_MAGIC && head[8..] != [0; 8]
}

fn compare(why: &str) -> Tracking {
    Tracking::Compare { why: why.to_owned() }
}

fn left_out(why: &str) -> Tracking {
    Tracking::LeftOut { why: why.to_owned() }
}

fn unknown(why: &str) -> Tracking {
    Tracking::Unknown { why: why.to_owned() }
}

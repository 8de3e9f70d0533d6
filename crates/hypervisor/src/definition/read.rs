//! What Farshore reads in a machine's definition. This module must never judge whether a
//! disk can be replicated.

use std::path::PathBuf;

use farshore_types::{DiskKey, MachineId};

use super::{DefinitionError, Element, parse};
use crate::{Nic, NicSource};

/// The name of a guest agent's channel.
const AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";

/// What a machine's definition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineText {
    /// The machine's UUID; none where the hypervisor shall choose one.
    pub id: Option<MachineId>,
    /// Its name.
    pub name: String,
    /// Kind of virtualization, such as `kvm`.
    pub virtualization: String,
    /// Architecture, such as `x86_64`.
    pub arch: Option<String>,
    /// Machine type, such as `pc-q35-10.0`.
    pub machine_type: Option<String>,
    /// Memory in bytes; 0 where it does not say.
    pub memory: u64,
    /// The size of the huge pages that its memory is to be of, in bytes; 0: the host's usual one.
    pub huge_pages: Option<u64>,
    /// The emulator's binary.
    pub emulator: Option<PathBuf>,
    /// The file with the firmware's variables.
    pub nvram: Option<PathBuf>,
    /// Whether it has a TPM, whose state is beside the machine's disks and never in a point.
    pub tpm: bool,
    /// The disks that have a usable name, in order.
    pub disks: Vec<DiskText>,
    /// The network cards, in order.
    pub nics: Vec<Nic>,
}

/// What a definition says of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskText {
    /// Its target device.
    pub key: DiskKey,
    /// `disk`, `cdrom`, `floppy` or `lun`.
    pub device: String,
    /// Format of its image.
    pub format: String,
    /// Where its content is.
    pub source: DiskSource,
    /// The guest cannot write to it.
    pub readonly: bool,
    /// Other machines write to it too.
    pub shareable: bool,
    /// What the guest writes is thrown away when it stops.
    pub transient: bool,
    /// What the guest discards is given back.
    pub discard: bool,
}

/// Where a disk's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskSource {
    /// In a file.
    File(PathBuf),
    /// In a block device of the host.
    Block(PathBuf),
    /// Nowhere: an empty drive.
    None,
    /// Elsewhere, by the type in the definition.
    Other(String),
}

impl DiskSource {
    /// File or device on this host.
    #[must_use]
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            DiskSource::File(path) | DiskSource::Block(path) => Some(path),
            DiskSource::None | DiskSource::Other(_) => None,
        }
    }
}

/// The host's end of the line to a started machine's guest agent, where it is a unix socket.
#[must_use]
pub fn agent_socket(text: &str) -> Option<PathBuf> {
    let root = parse(text).ok()?;
    let mut channels = root.child("devices")?.children("channel");
    let agent = |channel: &&Element| channel.child_attribute("target", "name") == Some(AGENT_CHANNEL);
    let channel = channels.find(agent).filter(|channel| channel.attribute("type") == Some("unix"))?;
    channel.child_attribute("source", "path").map(PathBuf::from)
}

/// Reads a machine's definition.
///
/// # Errors
/// [`DefinitionError`] where it is malformed, or has no name.
pub fn machine(text: &str) -> Result<MachineText, DefinitionError> {
    let root = parse(text)?;
    if root.name != "domain" {
        return Err(DefinitionError::Missing { what: "<domain>" });
    }
    let id = root.child_text("uuid").map(|uuid| {
        uuid.parse().map_err(|_| DefinitionError::Wrong { what: "<uuid>", value: uuid.to_owned() })
    });
    let kind = root.at(&["os", "type"]);
    let devices = root.child("devices");
    let owned = |text: &str| text.to_owned();
    Ok(MachineText {
        id: id.transpose()?,
        name: root.child_text("name").filter(|n| !n.is_empty()).map(owned).ok_or(MISSING_NAME)?,
        virtualization: root.attribute("type").map(owned).ok_or(MISSING_TYPE)?,
        arch: kind.and_then(|k| k.attribute("arch")).map(owned),
        machine_type: kind.and_then(|k| k.attribute("machine")).map(owned),
        memory: root.child("memory").map_or(0, |memory| bytes(&memory.text, memory.attribute("unit"))),
        huge_pages: root.at(&["memoryBacking", "hugepages"]).map(huge_page),
        emulator: root.at(&["devices", "emulator"]).map(|e| PathBuf::from(&e.text)),
        nvram: root.at(&["os", "nvram"]).and_then(nvram_path),
        tpm: devices.is_some_and(|devices| devices.child("tpm").is_some()),
        disks: devices.into_iter().flat_map(|d| d.children("disk")).filter_map(disk).collect(),
        nics: devices.into_iter().flat_map(|d| d.children("interface")).map(nic).collect(),
    })
}

/// A size with libvirt's units; 0 for what is none.
fn bytes(number: &str, unit: Option<&str>) -> u64 {
    let number: u64 = number.trim().parse().unwrap_or(0);
    number.saturating_mul(match unit.unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    })
}

fn huge_page(pages: &Element) -> u64 {
    let page = pages.child("page");
    page.map_or(0, |page| bytes(page.attribute("size").unwrap_or("0"), page.attribute("unit")))
}

const MISSING_NAME: DefinitionError = DefinitionError::Missing { what: "<name>" };
const MISSING_TYPE: DefinitionError = DefinitionError::Missing { what: "type of virtualization" };

fn nvram_path(nvram: &Element) -> Option<PathBuf> {
    let path = nvram.child_attribute("source", "file").unwrap_or(&nvram.text);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// The disk's name, where it has one that Farshore can use.
pub(super) fn disk_key(disk: &Element) -> Option<DiskKey> {
    let target = disk.child_attribute("target", "dev")?;
    target.parse().inspect_err(|error| tracing::warn!(%error, "disk passed over")).ok()
}

fn disk(disk: &Element) -> Option<DiskText> {
    let driver = disk.child("driver");
    let driver_says = |name| driver.and_then(|d| d.attribute(name));
    Some(DiskText {
        key: disk_key(disk)?,
        device: disk.attribute("device").unwrap_or("disk").to_owned(),
        format: driver_says("type").unwrap_or("raw").to_owned(),
        source: disk_source(disk),
        readonly: disk.child("readonly").is_some(),
        shareable: disk.child("shareable").is_some(),
        transient: disk.child("transient").is_some(),
        discard: driver_says("discard") == Some("unmap"),
    })
}

fn disk_source(disk: &Element) -> DiskSource {
    let Some(source) = disk.child("source") else { return DiskSource::None };
    let kind = disk.attribute("type").unwrap_or("file");
    match (kind, source.attribute("file"), source.attribute("dev")) {
        ("file", Some(path), _) => DiskSource::File(path.into()),
        ("block", _, Some(path)) => DiskSource::Block(path.into()),
        ("file" | "block", ..) => DiskSource::None,
        (other, ..) => DiskSource::Other(other.to_owned()),
    }
}

fn nic(nic: &Element) -> Nic {
    let source = |name| nic.child_attribute("source", name).map(str::to_owned);
    let kind = nic.attribute("type").unwrap_or_default();
    let named = match kind {
        "network" => source("network").map(NicSource::Network),
        "bridge" => source("bridge").map(NicSource::Bridge),
        "direct" => source("dev").map(NicSource::Direct),
        "user" => Some(NicSource::User),
        "null" => Some(NicSource::None),
        _ => None,
    };
    Nic {
        mac: nic.child_attribute("mac", "address").map(str::to_ascii_lowercase),
        source: named.unwrap_or_else(|| NicSource::Other(kind.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_of_every_kind_are_told_apart() {
        let text = "<domain type='kvm'><name>a</name><devices>
            <disk type='file'><source file='/a&amp;b'/><target dev='vda'/><driver type='qcow2' discard='unmap'/></disk>
            <disk type='block' device='lun'><source dev='/dev/x'/><target dev='sda'/><shareable/></disk>
            <disk type='network'><source protocol='rbd' name='p/i'/><target dev='vdb'/></disk>
            <disk type='file' device='cdrom'><target dev='sdb'/><readonly/></disk>
            <disk type='file'><source file='/a'/><target dev='../x'/></disk>
            </devices></domain>";
        let disks = machine(text).unwrap().disks;
        let sources: Vec<_> = disks.iter().map(|d| (d.key.as_str(), d.source.clone())).collect();
        let expected = [
            ("vda", DiskSource::File("/a&b".into())),
            ("sda", DiskSource::Block("/dev/x".into())),
            ("vdb", DiskSource::Other("network".into())),
            ("sdb", DiskSource::None),
        ];
        assert_eq!(sources, expected);
        assert!(disks[0].discard && disks[1].shareable && disks[3].readonly);
    }

    #[test]
    fn a_tpm_is_seen() {
        let tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>";
        let with = |devices: &str| {
            machine(&format!("<domain type='kvm'><name>a</name><devices>{devices}</devices></domain>"))
                .unwrap()
        };
        assert!(with(tpm).tpm && !with("<serial type='pty'/>").tpm);
    }

    #[test]
    fn memory_is_read_in_every_unit() {
        let of =
            |inner: &str| machine(&format!("<domain type='kvm'><name>a</name>{inner}</domain>")).unwrap();
        assert_eq!(of("<memory>1024</memory>").memory, 1 << 20);
        assert_eq!(of("<memory unit='GiB'> 2 </memory>").memory, 2 << 30);
        assert_eq!((of("").memory, of("").huge_pages), (0, None));
        let backed = "<memoryBacking><hugepages/></memoryBacking>";
        assert_eq!(of(backed).huge_pages, Some(0));
        let paged = backed.replace("<hugepages/>", "<hugepages><page size='1' unit='G'/></hugepages>");
        assert_eq!(of(&paged).huge_pages, Some(1 << 30));
    }

    #[test]
    fn a_definition_without_a_name_is_refused() {
        assert_eq!(machine("<domain type='kvm'/>"), Err(DefinitionError::Missing { what: "<name>" }));
        assert!(machine("<network/>").is_err());
    }

    #[test]
    fn the_line_to_the_agent_is_found_among_other_channels() {
        let channel = |kind: &str, name: &str, path: &str| {
            format!(
                "<channel type='{kind}'><source mode='bind' path='{path}'/><target type='virtio' name='{name}'/></channel>"
            )
        };
        let found =
            |channels: String| agent_socket(&format!("<domain><devices>{channels}</devices></domain>"));
        let other = channel("unix", "org.other.0", "/a");
        assert_eq!(found(other.clone() + &channel("unix", AGENT_CHANNEL, "/b")), Some(PathBuf::from("/b")));
        assert_eq!(found(other), None);
        assert_eq!(found(channel("pty", AGENT_CHANNEL, "/c")), None);
    }
}

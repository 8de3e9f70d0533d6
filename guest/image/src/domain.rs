//! The guest's libvirt definition: a small PC with two virtio disks and a serial console
//! into a file. It must never talk to libvirt.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Memory of the guest in MiB: the kernel unpacks itself and little else happens.
const MEMORY_MIB: u32 = 128;

/// Memory of the full guest in MiB.
const DEBIAN_MEMORY_MIB: u32 = 256;

/// How the guest's processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// Emulated: slow, and runs everywhere.
    Emulation,
    /// The processor's own virtualization.
    Kvm,
}

impl Accelerator {
    /// KVM only when `FARSHORE_KVM=1` says that it really works: a `/dev/kvm` that opens
    /// and then hangs the guest in its firmware exists.
    #[must_use]
    pub fn from_environment() -> Accelerator {
        match std::env::var("FARSHORE_KVM").as_deref() {
            Ok("1") => Accelerator::Kvm,
            _ => Accelerator::Emulation,
        }
    }
}

/// How busy the guest is. Given to it through the machine's SMBIOS family name, so that the same
/// disks can be started with another load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Ledger records per second, at most; at least 1.
    pub records_per_second: u32,
    /// KiB per second of random writes on the first disk; 0 for none.
    pub write_kib_per_second: u32,
    /// MiB of the first disk that those writes are spread over, up to about 128.
    pub write_area_mib: u32,
    /// Only judge the disks, write nothing.
    pub check_only: bool,
}

impl Default for Load {
    fn default() -> Self {
        Load { records_per_second: 50, write_kib_per_second: 1024, write_area_mib: 32, check_only: false }
    }
}

impl Load {
    /// The words that the guest reads.
    #[must_use]
    pub fn words(&self) -> String {
        let Load { records_per_second, write_kib_per_second, write_area_mib, check_only } = self;
        format!(
            "farshore.rate={records_per_second} farshore.load_kib={write_kib_per_second} \
             farshore.load_area_mib={write_area_mib} farshore.check_only={}",
            u8::from(*check_only)
        )
    }
}

/// One guest to be defined.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its name in libvirt.
    pub name: String,
    /// Its UUID, in the usual text form.
    pub uuid: String,
    /// Its first disk (`vda`, boots), qcow2.
    pub disk1: PathBuf,
    /// Its second disk (`vdb`, the ledger), qcow2.
    pub disk2: PathBuf,
    /// File that the serial console is appended to.
    pub console: PathBuf,
    /// How its processor runs.
    pub accelerator: Accelerator,
    /// How busy it is.
    pub load: Load,
}

/// The definition of the demo guest, ready for libvirt.
#[must_use]
pub fn domain_xml(guest: &Guest) -> String {
    definition(guest, MEMORY_MIB, "")
}

/// The definition of the full guest: with more memory, a channel for its agent, and where it is
/// given one by which the host tells it what to do, a line of its shell at a time, at the socket
/// `orders`.
#[must_use]
pub fn debian_xml(guest: &Guest, orders: Option<&Path>) -> String {
    let agent = "    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
";
    let Some(orders) = orders else { return definition(guest, DEBIAN_MEMORY_MIB, agent) };
    let orders = escape(&orders.to_string_lossy());
    let channels = format!(
        "{agent}    <channel type='unix'>
      <source mode='bind' path='{orders}'/>
      <target type='virtio' name='org.farshore.orders.0'/>
    </channel>
"
    );
    definition(guest, DEBIAN_MEMORY_MIB, &channels)
}

fn definition(guest: &Guest, memory_mib: u32, devices: &str) -> String {
    let kind = match guest.accelerator {
        Accelerator::Emulation => "qemu",
        Accelerator::Kvm => "kvm",
    };
    let (name, uuid, words) = (escape(&guest.name), escape(&guest.uuid), guest.load.words());
    let console = escape(&guest.console.to_string_lossy());
    let mut disks = String::new();
    for (path, target) in [(&guest.disk1, "vda"), (&guest.disk2, "vdb")] {
        let path = escape(&path.to_string_lossy());
        let _ = write!(
            disks,
            "    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{path}'/>
      <target dev='{target}' bus='virtio'/>
    </disk>
"
        );
    }
    format!(
        "<domain type='{kind}'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory_mib}</memory>
  <vcpu>1</vcpu>
  <sysinfo type='smbios'>
    <system><entry name='family'>{words}</entry></system>
  </sysinfo>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <boot dev='hd'/>
    <smbios mode='sysinfo'/>
  </os>
  <features><acpi/></features>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
{disks}    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='{console}' append='on'/>
      <target port='0'/>
    </serial>
{devices}    <memballoon model='none'/>
  </devices>
</domain>
"
    )
}

/// Text as XML wants it, inside elements and quoted attributes.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest() -> Guest {
        Guest {
            name: "it's <one> & only".to_owned(),
            uuid: "2f0c54a6-9b1e-4a0e-8c69-1f1f6f0f0a01".to_owned(),
            disk1: PathBuf::from("/a/vda.qcow2"),
            disk2: PathBuf::from("/a/vdb.qcow2"),
            console: PathBuf::from("/a/console"),
            accelerator: Accelerator::Emulation,
            load: Load { check_only: true, ..Load::default() },
        }
    }

    #[test]
    fn a_name_cannot_break_out_of_the_definition() {
        assert!(domain_xml(&guest()).contains("<name>it&apos;s &lt;one&gt; &amp; only</name>"));
    }

    #[test]
    fn the_full_guest_has_a_line_to_its_agent_and_the_demo_guest_has_none() {
        assert!(
            debian_xml(&guest(), Some(Path::new("/a/orders"))).contains("name='org.qemu.guest_agent.0'/>")
        );
        assert!(!domain_xml(&guest()).contains("<channel"));
    }

    #[test]
    fn the_definition_names_both_disks_the_console_and_the_load() {
        let xml = domain_xml(&guest());
        for part in [
            "<domain type='qemu'>",
            "file='/a/vda.qcow2'/>\n      <target dev='vda'",
            "file='/a/vdb.qcow2'/>\n      <target dev='vdb'",
            "path='/a/console' append='on'",
            "farshore.rate=50 farshore.load_kib=1024 farshore.load_area_mib=32 farshore.check_only=1",
        ] {
            assert!(xml.contains(part), "{part}");
        }
    }
}

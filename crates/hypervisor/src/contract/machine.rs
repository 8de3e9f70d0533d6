//! A host and its machines as seen from outside. Values only; this module must never know
//! where they come from.

use std::path::PathBuf;

use farshore_types::{DiskKey, MachineId};

/// What the host runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Kind of hypervisor, such as `QEMU`.
    pub hypervisor: String,
    /// Version of libvirt, such as `11.3.0`.
    pub libvirt_version: String,
    /// Version of QEMU, such as `10.0.2`; none where no emulator was found.
    pub qemu_version: Option<String>,
    /// How the hypervisor is reached.
    pub uri: String,
    /// Architecture of the host, such as `x86_64`.
    pub arch: String,
    /// The hypervisor's own networks that are started; none where it has no driver for them.
    pub networks: Vec<String>,
}

/// A persistent machine of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its UUID.
    pub id: MachineId,
    /// Its name on this host.
    pub name: String,
    /// Whether it runs.
    pub power: PowerState,
    /// Whether it is off and its memory is kept in a file, from which it goes on when it is started:
    /// `virsh managedsave`, or a host that saves its machines when it goes down. Its disks alone are not
    /// what a machine that was shut down leaves.
    pub saved: bool,
    /// All its disks in the order of the definition, those left out too.
    pub disks: Vec<Disk>,
    /// Its network cards in the order of the definition.
    pub nics: Vec<Nic>,
    /// The persistent definition, secrets included: what would be started next.
    pub definition: String,
    /// Whether the host starts it when it boots.
    pub autostart: bool,
    /// The file with its firmware's variables.
    pub nvram: Option<PathBuf>,
}

impl Machine {
    /// The disk of that name.
    #[must_use]
    pub fn disk(&self, key: &DiskKey) -> Option<&Disk> {
        self.disks.iter().find(|d| d.key == *key)
    }
}

/// Whether a machine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// Its processors run.
    Running,
    /// It is started, its processors stand still.
    Paused {
        /// QEMU stopped it because a write failed, as it does when a backup's scratch file
        /// cannot grow.
        io_error: bool,
        /// The hypervisor's word for why.
        reason: String,
    },
    /// It is off.
    ShutOff {
        /// The hypervisor knows that it did not go down in order (its bitmaps are lost then).
        crashed: bool,
    },
    /// Between states, or one that Farshore has no name for.
    Other(String),
}

impl PowerState {
    /// Whether the machine is off, so that its disks are open nowhere.
    #[must_use]
    pub fn is_off(&self) -> bool {
        matches!(self, PowerState::ShutOff { .. })
    }

    /// Whether it is started and its processors stand still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self, PowerState::Paused { .. })
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its target device, such as `vda`.
    pub key: DiskKey,
    /// File or block device that holds it now; none for disks in networks and empty drives.
    pub path: Option<PathBuf>,
    /// Format of the image, such as `qcow2` or `raw`.
    pub format: String,
    /// Size the guest sees, in bytes; 0 where it could not be found out.
    pub size: u64,
    /// How its changes are found.
    pub tracking: Tracking,
    /// Whether what the guest discards is given back to the host.
    pub discard: bool,
    /// Differs from an earlier look's, at which the machine was off as it is now, wherever the image
    /// may have been written since; none where that cannot be told. To be compared, not read.
    pub stamp: Option<String>,
    /// Whether it reads what its own image does not have from another one below.
    pub layered: bool,
}

/// How the changes of a disk are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// QEMU records them in a dirty bitmap that the image keeps.
    Bitmap,
    /// It is read whole and compared by digest.
    Compare {
        /// Why there is no bitmap, and how to get one.
        why: String,
    },
    /// It cannot, or need not, be replicated: the definition says so.
    LeftOut {
        /// Why.
        why: String,
    },
    /// It could not be looked at just now, so that nothing is known. Never a reason to go on
    /// without it: look again.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Tracking {
    /// Whether the disk can be replicated, by bitmap or by comparison.
    #[must_use]
    pub fn replicates(&self) -> bool {
        matches!(self, Tracking::Bitmap | Tracking::Compare { .. })
    }
}

/// A network card of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its address, in lower case; none where the definition leaves it to the hypervisor.
    pub mac: Option<String>,
    /// What it is connected to.
    pub source: NicSource,
}

/// What a network card is connected to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NicSource {
    /// A network of libvirt.
    Network(String),
    /// A bridge of the host.
    Bridge(String),
    /// A device of the host (macvtap).
    Direct(String),
    /// The emulator's own address translation.
    User,
    /// Nothing.
    None,
    /// Anything else, by its type in the definition.
    Other(String),
}

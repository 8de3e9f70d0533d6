//! The contract between Farshore and a hypervisor. The libvirt driver and the simulated one
//! keep it alike, and one suite of tests holds both to it. This module must never know
//! which of them answers.

mod backup;
mod event;
mod machine;

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use farshore_types::{DiskKey, MachineId};
use tokio::sync::broadcast;

use crate::Result;

pub use backup::{
    Backup, BackupDisk, BackupMode, BackupSpec, BlockJob, Checkpoint, Deletion, Export, Exported, JobState,
};
pub use event::{Change, Event};
pub use machine::{Disk, HostFacts, Machine, Nic, NicSource, PowerState, Tracking};

/// How a machine is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Its processors run at once.
    Running,
    /// It exists, its disks are open, its processors have not run one instruction.
    Paused,
}

/// What becomes of the state that the hypervisor keeps for a machine beside its disks
/// (NVRAM, TPM) when its definition is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestState {
    /// It stays where it is.
    Keep,
    /// It goes with the definition: for machines that were only tried out.
    Remove,
}

/// One reason why a machine would not start on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What the definition asks for and the host does not have.
    pub what: String,
    /// What a person can do about it.
    pub advice: String,
}

/// A hypervisor on one host, as far as Farshore needs it.
///
/// Every operation is bounded in time and ends with [`crate::Kind::Timeout`] where the
/// hypervisor does not answer. None is cancel-safe in the sense of undoing anything: a
/// dropped future leaves the hypervisor's call to run to its end.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// Kind, versions and architecture of the host.
    async fn host_facts(&self) -> Result<HostFacts>;

    /// All persistent machines of the host, ordered by name. Machines that vanish meanwhile
    /// are left out.
    async fn machines(&self) -> Result<Vec<Machine>>;

    /// One machine.
    ///
    /// # Errors
    /// [`crate::Kind::NoSuchMachine`].
    async fn machine(&self, id: MachineId) -> Result<Machine>;

    /// One machine by its UUID or its name; a text that is a UUID is looked up as such first.
    ///
    /// # Errors
    /// [`crate::Kind::NoSuchMachine`].
    async fn find(&self, name_or_uuid: &str) -> Result<Machine>;

    /// Makes the machine of `xml` known to the host, or replaces the definition it had.
    /// It is never started by that.
    ///
    /// # Errors
    /// [`crate::Kind::Invalid`] for a wrong definition, [`crate::Kind::AlreadyExists`] where
    /// its name belongs to another machine.
    async fn define(&self, xml: &str) -> Result<MachineId>;

    /// Withdraws the definition of a machine that is not running, and with it all records of
    /// its checkpoints; the bitmaps in its disks' files stay.
    ///
    /// # Errors
    /// [`crate::Kind::AlreadyRunning`]: it must be stopped first.
    async fn undefine(&self, id: MachineId, state: GuestState) -> Result<()>;

    /// Starts a machine.
    ///
    /// # Errors
    /// [`crate::Kind::AlreadyRunning`], also where it is started but paused.
    async fn start(&self, id: MachineId, how: Start) -> Result<()>;

    /// Lets the processors of a paused machine run; does nothing to a running one.
    ///
    /// # Errors
    /// [`crate::Kind::NotRunning`].
    async fn resume(&self, id: MachineId) -> Result<()>;

    /// Halts the processors of a running machine; does nothing to a paused one.
    ///
    /// # Errors
    /// [`crate::Kind::NotRunning`].
    async fn suspend(&self, id: MachineId) -> Result<()>;

    /// Asks the guest to shut down and waits until the machine is off: through its agent where
    /// one answers, and by its power button where none does, or nothing came of that. The
    /// button is pressed again from time to time, for a guest that boots does not heed it yet.
    /// A machine that is off already is a success. Nothing here ever switches it off.
    ///
    /// # Errors
    /// [`crate::Kind::Timeout`] where the guest has not stopped within `deadline`; it may
    /// still do so later.
    async fn shut_down(&self, id: MachineId, deadline: Duration) -> Result<()>;

    /// Stops a machine at once, as a power cut would. One that is off already is a success.
    /// Its bitmaps are saved.
    async fn destroy(&self, id: MachineId) -> Result<()>;

    /// Pulls the cables of all network cards of a started machine, which runs on; its definition
    /// stays as it is.
    ///
    /// # Errors
    /// [`crate::Kind::NotRunning`].
    async fn unplug(&self, id: MachineId) -> Result<()>;

    /// Whether the guest of a started machine has run since it was started, as far as its
    /// disks can tell: it has read or written one. One that was started paused and never set
    /// going has not, and loses nothing by being stopped. A machine that is off has not.
    async fn has_run(&self, id: MachineId) -> Result<bool>;

    /// Sets whether the host starts the machine when it boots.
    async fn set_autostart(&self, id: MachineId, autostart: bool) -> Result<()>;

    /// Makes and starts a network that leads nowhere, for a test failover. One of that name that is
    /// there already is a success.
    async fn create_network(&self, name: &str) -> Result<()>;

    /// Stops and removes it. One that is not there is a success.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// The address that a network of the host keeps for a card, whoever said so.
    ///
    /// # Errors
    /// [`crate::Kind::NoSuchNetwork`].
    async fn reserved_address(&self, network: &str, card: &str) -> Result<Option<IpAddr>>;

    /// Lets a network of the host give this address to this card, and no other: what was reserved
    /// for the card there before is replaced, so that whoever asks must have made that. Reserved
    /// already is a success.
    ///
    /// # Errors
    /// [`crate::Kind::NoSuchNetwork`]; [`crate::Kind::Unsupported`] where the network gives no
    /// addresses, or not of this kind; [`crate::Kind::Invalid`] where it could never give this one;
    /// [`crate::Kind::AlreadyExists`] where it is another card's, or the card has another by name.
    async fn reserve_address(&self, network: &str, card: &str, address: IpAddr) -> Result<()>;

    /// Ends what is reserved for a card in a network. Nothing there is a success.
    async fn release_address(&self, network: &str, card: &str) -> Result<()>;

    /// What of `xml` this host cannot provide (kind of virtualization, architecture, machine
    /// type, emulator, processor model, networks), found out before anything is started.
    /// Empty: nothing known stands against a start.
    ///
    /// # Errors
    /// [`crate::Kind::Invalid`] where `xml` cannot be read at all.
    async fn check_startable(&self, xml: &str) -> Result<Vec<Problem>>;

    /// The machine's checkpoints, parents before children.
    async fn checkpoints(&self, id: MachineId) -> Result<Vec<Checkpoint>>;

    /// Deletes a checkpoint; what it recorded goes to its parent, so that nothing is lost.
    ///
    /// # Errors
    /// [`crate::Kind::NoSuchCheckpoint`]; [`crate::Kind::BitmapBroken`] where its bitmaps are
    /// gone, and only [`Deletion::RecordOnly`] removes it; [`crate::Kind::NotRunning`] where
    /// bitmaps can be deleted on a started machine only.
    async fn delete_checkpoint(&self, id: MachineId, name: &str, how: Deletion) -> Result<()>;

    /// Begins a backup: one instant of all named disks, offered for reading until
    /// [`end_backup`](Self::end_backup), and (where asked for) a new checkpoint at exactly
    /// that instant. Either all of it happens or none.
    ///
    /// # Errors
    /// [`crate::Kind::NotRunning`], [`crate::Kind::Busy`], [`crate::Kind::NoSuchCheckpoint`],
    /// [`crate::Kind::BitmapBroken`], [`crate::Kind::AlreadyExists`] for the checkpoint's
    /// name, [`crate::Kind::Denied`] where the hypervisor cannot write socket or scratch.
    async fn begin_backup(&self, id: MachineId, spec: &BackupSpec) -> Result<Backup>;

    /// Opens one disk of a backup for reading. May be called several times.
    async fn open_export(&self, backup: &Backup, disk: &DiskKey) -> Result<Box<dyn Export>>;

    /// Ends the machine's backup, whoever began it, and returns when it is really gone and
    /// its scratch files with it. Without a backup it is a success.
    ///
    /// # Errors
    /// [`crate::Kind::Busy`] where another kind of job runs: that one is left alone.
    async fn end_backup(&self, id: MachineId) -> Result<()>;

    /// The job that runs on the machine now.
    async fn job(&self, id: MachineId) -> Result<JobState>;

    /// Block jobs (pull, commit, copy) that stand in the way of a backup.
    async fn block_jobs(&self, id: MachineId) -> Result<Vec<BlockJob>>;

    /// Begins to copy into a disk's own image what it reads from images below it; the guest runs
    /// on meanwhile, and bitmaps record its writes alone. When that ends by itself, the disk needs
    /// nothing below it ([`Disk::layered`]). One that is under way is a success. `rate` is in bytes
    /// per second; 0: as fast as it goes.
    ///
    /// # Errors
    /// [`crate::Kind::NotRunning`]; [`crate::Kind::Busy`] where a backup or another block job is in
    /// the way.
    async fn begin_pull(&self, id: MachineId, disk: &DiskKey, rate: u64) -> Result<()>;

    /// Ends that copying where it is, and returns when it is gone: what was copied stays, and the
    /// disk goes on reading the rest from below. Without one it is a success.
    ///
    /// # Errors
    /// [`crate::Kind::Busy`] where another kind of job runs on the disk: that one is left alone.
    async fn end_pull(&self, id: MachineId, disk: &DiskKey) -> Result<()>;

    /// Freezes the guest's file systems through its agent, and says how many. The agent runs
    /// the guest's own freeze hook before. `patience`, in whole seconds and at least one, is how
    /// long the agent is waited for.
    ///
    /// After any error but these the guest may be frozen, now or later: the caller must
    /// [`thaw`](Self::thaw) it until [`is_frozen`](Self::is_frozen) says that it is not.
    ///
    /// # Errors
    /// Without any effect: [`crate::Kind::NoAgent`], [`crate::Kind::NotRunning`],
    /// [`crate::Kind::NoSuchMachine`]; [`crate::Kind::Unsupported`] where the agent may not do
    /// it; [`crate::Kind::Busy`] where somebody else has frozen it, or uses its agent.
    async fn freeze(&self, id: MachineId, patience: Duration) -> Result<u32>;

    /// Thaws the guest's file systems, and says how many this very call thawed: fewer than were
    /// frozen where something else had thawed them before. The agent runs the guest's own thaw
    /// hook after that. Waits for the agent for `patience`, in whole seconds and at least one.
    ///
    /// # Errors
    /// As for [`freeze`](Self::freeze); the call may still take effect after a
    /// [`crate::Kind::Timeout`].
    async fn thaw(&self, id: MachineId, patience: Duration) -> Result<u32>;

    /// Whether the guest's agent holds file systems frozen, now that it has done all it was
    /// asked for before.
    ///
    /// # Errors
    /// As for [`thaw`](Self::thaw).
    async fn is_frozen(&self, id: MachineId, patience: Duration) -> Result<bool>;

    /// What happens on the host from now on. A receiver that lags loses the oldest events:
    /// look at the machines again then.
    fn events(&self) -> broadcast::Receiver<Event>;
}

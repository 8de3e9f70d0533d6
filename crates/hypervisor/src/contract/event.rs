//! What happens on a host without being asked for. This module must never know how a
//! hypervisor tells.

use farshore_types::MachineId;

/// Something happened on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A machine changed.
    Machine {
        /// Which.
        machine: MachineId,
        /// How.
        change: Change,
    },
    /// The connection to the hypervisor broke: open a new one and look at everything again.
    Disconnected,
}

/// How a machine changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Its definition is new or another one.
    Defined,
    /// Its definition was withdrawn.
    Undefined,
    /// It was started.
    Started,
    /// Its processors were halted.
    Suspended {
        /// Because a write failed: the guest waits, somebody must act.
        io_error: bool,
    },
    /// Its processors run again.
    Resumed,
    /// The guest has begun to shut down.
    ShuttingDown,
    /// It is off.
    Stopped {
        /// Not in order: bitmaps are lost.
        crashed: bool,
    },
    /// Anything else; look at it.
    Other,
}

//! The commands' work, one file each. They are the tools for the day the control plane is
//! gone: they need nothing but this host. This module must never know who asks or how the
//! answer is shown.

mod adopt;
mod bring_up;
mod discard;
mod export;
mod listing;
mod qcow2_file;
mod release;
mod replicate;
mod rescued;
mod start_held;
mod verify;

pub(crate) use adopt::{adopt, check_copies, take_over_copy};
pub(crate) use bring_up::{as_it_would_be, bring_up, check_startable, define_at};
pub(crate) use discard::{discard, ours, remove_nvram};
pub(crate) use export::export;
pub(crate) use listing::{brought_up_at, disk_line, machines, points, power, replica_line, status};
pub(crate) use release::{OWN_WRITES, own_writes, release};
pub(crate) use replicate::replicate;
pub(crate) use rescued::drop_rescued;
pub(crate) use start_held::start_held;
pub(crate) use verify::verify;

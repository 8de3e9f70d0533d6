//! From our names of machines to libvirt's. This module must never change anything.

use farshore_types::MachineId;
use uuid::Uuid;
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

use super::fault::{Call, Fault};
use crate::Kind;

pub(super) fn domain(connection: &Connect, id: MachineId) -> Call<Domain> {
    Ok(Domain::lookup_by_uuid_string(connection, &id.to_string())?)
}

/// The domain, started.
pub(super) fn started(connection: &Connect, id: MachineId) -> Call<Domain> {
    let domain = domain(connection, id)?;
    if domain.is_active()? { Ok(domain) } else { Err(Fault::new(Kind::NotRunning, "it is not running")) }
}

/// Whether a machine in that state went off by its state being saved.
pub(super) fn is_saved((state, reason): (sys::virDomainState, i32)) -> bool {
    state == sys::VIR_DOMAIN_SHUTOFF && u32::try_from(reason) == Ok(sys::VIR_DOMAIN_SHUTOFF_SAVED)
}

pub(super) fn id_of(domain: &Domain) -> Call<MachineId> {
    let text = domain.get_uuid_string()?;
    let wrong = || Fault::new(Kind::Other, format!("libvirt gave '{text}' as a UUID"));
    Uuid::parse_str(&text).map(MachineId).map_err(|_| wrong())
}

/// The machine's name, where it still has one.
pub(super) fn name_of(connection: &Connect, id: MachineId) -> Option<String> {
    domain(connection, id).ok()?.get_name().ok()
}

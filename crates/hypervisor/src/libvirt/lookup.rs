//! From our names of machines to libvirt's. This module must never change anything.

use farshore_types::MachineId;
use uuid::Uuid;
use virt::{connect::Connect, domain::Domain};

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

pub(super) fn id_of(domain: &Domain) -> Call<MachineId> {
    let text = domain.get_uuid_string()?;
    let wrong = || Fault::new(Kind::Other, format!("libvirt gave '{text}' as a UUID"));
    Uuid::parse_str(&text).map(MachineId).map_err(|_| wrong())
}

/// The machine's name, where it still has one.
pub(super) fn name_of(connection: &Connect, id: MachineId) -> Option<String> {
    domain(connection, id).ok()?.get_name().ok()
}

//! Defining, starting and stopping. This module must never know why.

use farshore_types::MachineId;
use virt::{connect::Connect, domain::Domain};
use virt_sys as sys;

use super::{
    fault::{Call, Fault},
    guest_agent, huge_pages, inventory, lookup,
};
use crate::{GuestState, Kind, Start, definition};

pub(super) fn define(connection: &Connect, xml: &str) -> Call<MachineId> {
    lookup::id_of(&Domain::define_xml(connection, xml)?)
}

pub(super) fn undefine(connection: &Connect, id: MachineId, state: GuestState) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    // libvirt would make a running machine transient, which would then vanish at its stop.
    if domain.is_active()? {
        return Err(Fault::new(Kind::AlreadyRunning, "it is running"));
    }
    let guest_state = match state {
        GuestState::Keep => sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM,
        GuestState::Remove => sys::VIR_DOMAIN_UNDEFINE_NVRAM | sys::VIR_DOMAIN_UNDEFINE_TPM,
    };
    let records = sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE;
    Ok(domain.undefine_flags(guest_state | records)?)
}

pub(super) fn start(connection: &Connect, id: MachineId, how: Start) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    if domain.is_active()? {
        return Err(Fault::new(Kind::AlreadyRunning, "it is started already"));
    }
    let flags = match how {
        Start::Running => 0,
        Start::Paused => sys::VIR_DOMAIN_START_PAUSED,
    };
    huge_pages::allowed(|| domain.create_with_flags(flags))?;
    Ok(())
}

pub(super) fn resume(connection: &Connect, id: MachineId) -> Call<()> {
    let domain = lookup::started(connection, id)?;
    if inventory::power(&domain)?.is_paused() {
        domain.resume()?;
    }
    Ok(())
}

pub(super) fn suspend(connection: &Connect, id: MachineId) -> Call<()> {
    let domain = lookup::started(connection, id)?;
    if !inventory::power(&domain)?.is_paused() {
        domain.suspend()?;
    }
    Ok(())
}

/// Asks the guest's agent to shut it down; false where none answers. Does nothing where the
/// machine is off.
pub(super) fn ask_agent_to_shut_down(connection: &Connect, id: MachineId) -> Call<bool> {
    let domain = lookup::domain(connection, id)?;
    let asked = || domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT).is_ok();
    Ok(!domain.is_active()? || asked() || guest_agent::shut_down_past_libvirt(&domain))
}

/// Presses the guest's power button; does nothing where the machine is off.
pub(super) fn press_power_button(connection: &Connect, id: MachineId) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    match domain.is_active()? {
        true => match domain.shutdown_flags(sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) {
            // It may have stopped by itself meanwhile.
            Err(_) if !domain.is_active()? => Ok(()),
            pressed => Ok(pressed.map(drop)?),
        },
        false => Ok(()),
    }
}

pub(super) fn is_off(connection: &Connect, id: MachineId) -> Call<bool> {
    Ok(!lookup::domain(connection, id)?.is_active()?)
}

pub(super) fn destroy(connection: &Connect, id: MachineId) -> Call<()> {
    let domain = lookup::domain(connection, id)?;
    match domain.destroy() {
        // It may have stopped by itself meanwhile.
        Err(_) if !domain.is_active()? => Ok(()),
        other => Ok(other?),
    }
}

pub(super) fn unplug(connection: &Connect, id: MachineId) -> Call<()> {
    let domain = lookup::started(connection, id)?;
    let text = domain.get_xml_desc(0)?;
    let nics = definition::unplugged_nics(&text).map_err(|e| Fault::new(Kind::Invalid, e.to_string()))?;
    for nic in nics {
        domain.update_device_flags(&nic, sys::VIR_DOMAIN_DEVICE_MODIFY_LIVE)?;
    }
    Ok(())
}

pub(super) fn set_autostart(connection: &Connect, id: MachineId, autostart: bool) -> Call<()> {
    lookup::domain(connection, id)?.set_autostart(autostart)?;
    Ok(())
}

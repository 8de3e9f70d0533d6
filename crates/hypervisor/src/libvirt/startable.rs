//! Whether a machine could start here, asked of libvirt's capabilities before anything is
//! tried. This module must never start anything.

use virt::{connect::Connect, network::Network};

use super::fault::Call;
use crate::{
    Kind, NicSource, Problem,
    definition::{self, Element, MachineText},
    libvirt::fault::Fault,
};

pub(super) fn check(connection: &Connect, xml: &str) -> Call<Vec<Problem>> {
    let machine = definition::machine(xml)?;
    let mut problems = Vec::new();
    check_files(&machine, &mut problems);
    match capabilities(connection, &machine) {
        Ok(capabilities) => check_processor(&definition::parse(xml)?, &capabilities, &machine, &mut problems),
        Err(fault) if fault.kind == Kind::Connection => return Err(fault),
        Err(fault) => problems.push(Problem {
            what: format!("this host cannot run it: {}", fault.detail),
            advice: advice_for_kind(&machine),
        }),
    }
    check_networks(connection, &machine, &mut problems);
    Ok(problems)
}

fn advice_for_kind(machine: &MachineText) -> String {
    match machine.virtualization.as_str() {
        "kvm" => "use a host with KVM and a QEMU that has this machine type, or let it run emulated (slow)"
            .to_owned(),
        _ => "install a QEMU that has this architecture and machine type".to_owned(),
    }
}

fn check_files(machine: &MachineText, problems: &mut Vec<Problem>) {
    if let Some(emulator) = machine.emulator.as_ref().filter(|path| !path.exists()) {
        problems.push(Problem {
            what: format!("its emulator {} is not on this host", emulator.display()),
            advice: "install it, or leave the choice of the emulator to libvirt".to_owned(),
        });
    }
}

/// What the host offers for this kind of machine; libvirt refuses the question where it
/// offers nothing (no KVM, unknown architecture or machine type).
fn capabilities(connection: &Connect, machine: &MachineText) -> Call<Element> {
    let emulator = machine.emulator.as_ref().filter(|path| path.exists()).and_then(|path| path.to_str());
    let text = connection.get_domain_capabilities(
        emulator,
        machine.arch.as_deref(),
        machine.machine_type.as_deref(),
        Some(&machine.virtualization),
        0,
    )?;
    Ok(definition::parse(&text)?)
}

fn check_processor(domain: &Element, offered: &Element, machine: &MachineText, problems: &mut Vec<Problem>) {
    let Some(cpu) = domain.child("cpu") else { return };
    let mode = cpu.attribute("mode").unwrap_or("custom");
    let Some(modes) = offered.child("cpu") else { return };
    let Some(of_mode) = modes.children("mode").find(|m| m.attribute("name") == Some(mode)) else { return };
    if of_mode.attribute("supported") != Some("yes") {
        problems.push(Problem {
            what: format!("this host has no processor mode '{mode}' for type '{}'", machine.virtualization),
            advice: "choose a processor model that both hosts have".to_owned(),
        });
    }
    let model = cpu.child_text("model").filter(|_| mode == "custom");
    let usable = |model: &str| {
        let same = |m: &&Element| m.text == model && m.attribute("usable") != Some("no");
        of_mode.children("model").any(|m| same(&m))
    };
    if let Some(model) = model.filter(|model| !usable(model)) {
        problems.push(Problem {
            what: format!("this host's processor cannot be a '{model}'"),
            advice: "choose a processor model that both hosts have".to_owned(),
        });
    }
}

fn check_networks(connection: &Connect, machine: &MachineText, problems: &mut Vec<Problem>) {
    for nic in &machine.nics {
        let missing = match &nic.source {
            NicSource::Network(name) => missing_network(connection, name),
            NicSource::Bridge(device) | NicSource::Direct(device) => missing_device(device),
            _ => None,
        };
        problems.extend(missing.map(|what| Problem {
            what,
            advice: "map the network to one of this site, or create it here".to_owned(),
        }));
    }
}

fn missing_network(connection: &Connect, name: &str) -> Option<String> {
    match Network::lookup_by_name(connection, name) {
        Ok(network) => match network.is_active() {
            Ok(false) => Some(format!("network '{name}' is not started on this host")),
            _ => None,
        },
        // Hosts without a network driver cannot know any.
        Err(error) => Some(format!("this host has no network '{name}' ({})", Fault::from(error).detail)),
    }
}

fn missing_device(device: &str) -> Option<String> {
    let there = std::path::Path::new("/sys/class/net").join(device).exists();
    (!there).then(|| format!("this host has no network device '{device}'"))
}

//! Networks: those that lead nowhere, for copies that are only tried, and addresses that a network
//! keeps for a card. This module must never change anything else of a network that was not made
//! here.

use std::net::IpAddr;

use quick_xml::escape::escape;
use virt::{connect::Connect, error::ErrorNumber, network::Network};
use virt_sys as sys;

use super::fault::{Call, Fault};
use crate::{
    Kind,
    definition::{Element, parse},
};

/// Those that are started; none where there is no driver for them.
pub(super) fn started(connection: &Connect) -> Vec<String> {
    let all = connection.list_all_networks(sys::VIR_CONNECT_LIST_NETWORKS_ACTIVE);
    all.unwrap_or_default().iter().filter_map(|network| network.get_name().ok()).collect()
}

/// Makes an isolated one, which ends with the host: no forwarding, no address of the host in it.
pub(super) fn create(connection: &Connect, name: &str) -> Call<()> {
    if Network::lookup_by_name(connection, name).is_ok() {
        return Ok(());
    }
    let xml = format!("<network><name>{}</name><bridge stp='on' delay='0'/></network>", escape(name));
    Ok(Network::create_xml(connection, &xml).map(drop)?)
}

pub(super) fn remove(connection: &Connect, name: &str) -> Call<()> {
    match Network::lookup_by_name(connection, name) {
        Ok(network) => Ok(network.destroy().map(drop)?),
        // It was made in another boot, or never.
        Err(_) => Ok(()),
    }
}

/// An address that a network keeps for a card.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reserved {
    card: Option<String>,
    address: Option<IpAddr>,
    /// Whether the guest gets a name with it: then somebody else made it.
    named: bool,
}

pub(super) fn reserve(connection: &Connect, name: &str, card: &str, address: IpAddr) -> Call<()> {
    let network = lookup(connection, name)?;
    let Some(known) = reserved(&network.get_xml_desc(0)?)? else {
        let why = format!("network '{name}' gives no addresses by DHCP");
        return Err(Fault::new(Kind::Unsupported, why).advise("give the guest its address by hand"));
    };
    if !address.is_ipv4() {
        let why = format!("{address} is of IPv6, for which a card says nothing of who it is");
        return Err(Fault::new(Kind::Unsupported, why).advise("give the guest its address by hand"));
    }
    let other = |one: &&Reserved| one.address == Some(address) && one.card.as_deref() != Some(card);
    if let Some(other) = known.iter().find(other) {
        let whose = other.card.as_deref().unwrap_or("another guest");
        let why = format!("network '{name}' keeps {address} for {whose}");
        let advice = "choose another address, or end that with `virsh net-update`";
        return Err(Fault::new(Kind::AlreadyExists, why).advise(advice));
    }
    let own = known.iter().find(|one| one.card.as_deref() == Some(card));
    if own.is_some_and(|own| own.address == Some(address)) {
        return Ok(());
    }
    let host = format!("<host mac='{}' ip='{address}'/>", escape(card));
    if own.is_some() {
        return update(&network, sys::VIR_NETWORK_UPDATE_COMMAND_MODIFY, &host);
    }
    update(&network, sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, &host)
}

pub(super) fn release(connection: &Connect, name: &str, card: &str) -> Call<()> {
    let network = match lookup(connection, name) {
        Err(fault) if fault.kind == Kind::NoSuchNetwork => return Ok(()),
        network => network?,
    };
    let known = reserved(&network.get_xml_desc(0)?)?.unwrap_or_default();
    match known.iter().find(|one| one.card.as_deref() == Some(card)) {
        Some(own) if !own.named => {
            let host = format!("<host mac='{}'/>", escape(card));
            update(&network, sys::VIR_NETWORK_UPDATE_COMMAND_DELETE, &host)
        }
        _ => Ok(()),
    }
}

fn lookup(connection: &Connect, name: &str) -> Call<Network> {
    Network::lookup_by_name(connection, name).map_err(|error| match error.code() {
        ErrorNumber::NoNetwork => {
            let why = format!("the host has no network '{name}'");
            Fault::new(Kind::NoSuchNetwork, why).advise("make it, or map the network to another one")
        }
        _ => error.into(),
    })
}

/// In force at once, and after the network is started anew.
fn update(network: &Network, command: sys::virNetworkUpdateCommand, host: &str) -> Call<()> {
    let mut flags = 0;
    if network.is_active()? {
        flags |= sys::VIR_NETWORK_UPDATE_AFFECT_LIVE;
    }
    if network.is_persistent()? {
        flags |= sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG;
    }
    // -1: libvirt finds the part of the network that gives addresses.
    Ok(network.update(command, sys::VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, host, flags)?)
}

/// What a network keeps for whom; none: it gives no addresses.
fn reserved(xml: &str) -> Call<Option<Vec<Reserved>>> {
    let network = parse(xml)?;
    let dhcp: Vec<&Element> = network.children("ip").filter_map(|ip| ip.child("dhcp")).collect();
    if dhcp.is_empty() {
        return Ok(None);
    }
    let hosts = dhcp.into_iter().flat_map(|dhcp| dhcp.children("host"));
    let one = |host: &Element| Reserved {
        card: host.attribute("mac").map(str::to_lowercase),
        address: host.attribute("ip").and_then(|ip| ip.parse().ok()),
        named: host.attribute("name").is_some(),
    };
    Ok(Some(hosts.map(one).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_network_keeps_for_whom_is_read() {
        let dhcp = "<network><name>lan</name><ip address='10.0.0.1' netmask='255.255.255.0'><dhcp>\
            <range start='10.0.0.100' end='10.0.0.200'/><host mac='52:54:00:AA:bb:cc' ip='10.0.0.5'/>\
            <host mac='52:54:00:00:00:01' name='web' ip='10.0.0.6'/></dhcp></ip></network>";
        let found = reserved(dhcp).unwrap().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].card.as_deref(), Some("52:54:00:aa:bb:cc"));
        assert_eq!((found[0].address, found[0].named), ("10.0.0.5".parse().ok(), false));
        assert!(found[1].named);
        let bare = "<network><name>lab</name><bridge name='virbr9'/></network>";
        assert_eq!(reserved(bare).unwrap(), None);
    }
}

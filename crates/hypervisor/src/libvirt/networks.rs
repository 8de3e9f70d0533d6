//! Networks: those that lead nowhere, for copies that are only tried, and addresses that a network
//! keeps for a card. This module must never change anything else of a network that was not made
//! here.

use std::net::{IpAddr, Ipv4Addr};

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

/// What a network keeps for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reserved {
    card: Option<String>,
    address: Option<IpAddr>,
    /// Whether the guest gets a name with it: then somebody else made it.
    named: bool,
}

/// A network that gives addresses by DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Gives {
    /// Its own address in each part that gives some, and how long the part's prefix is.
    parts: Vec<(Ipv4Addr, u32)>,
    reserved: Vec<Reserved>,
}

impl Gives {
    fn of(&self, card: &str) -> Option<&Reserved> {
        self.reserved.iter().find(|one| one.card.as_deref() == Some(card))
    }

    /// Whether it could give this address to a guest.
    fn could_give(&self, address: Ipv4Addr) -> bool {
        self.parts.iter().any(|(own, prefix)| {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            let (part, host) = (u32::from(*own) & mask, u32::from(address) & !mask);
            u32::from(address) & mask == part && address != *own && host != 0 && host != !mask
        })
    }
}

pub(super) fn reserved(connection: &Connect, name: &str, card: &str) -> Call<Option<IpAddr>> {
    let gives = gives(&lookup(connection, name)?.get_xml_desc(0)?)?.unwrap_or_default();
    Ok(gives.of(card).and_then(|one| one.address))
}

pub(super) fn reserve(connection: &Connect, name: &str, card: &str, address: IpAddr) -> Call<()> {
    let network = lookup(connection, name)?;
    let Some(known) = gives(&network.get_xml_desc(0)?)? else {
        let why = format!("network '{name}' gives no addresses by DHCP");
        return Err(Fault::new(Kind::Unsupported, why).advise("give the guest its address by hand"));
    };
    let IpAddr::V4(v4) = address else {
        let why = format!("{address} is of IPv6, for which a card says nothing of who it is");
        return Err(Fault::new(Kind::Unsupported, why).advise("give the guest its address by hand"));
    };
    if !known.could_give(v4) {
        let why = format!("{address} is none that network '{name}' could give to a guest");
        let advice = "choose one of the network's own, or give the guest its address by hand";
        return Err(Fault::new(Kind::Invalid, why).advise(advice));
    }
    let other = |one: &&Reserved| one.address == Some(address) && one.card.as_deref() != Some(card);
    if let Some(other) = known.reserved.iter().find(other) {
        let whose = other.card.as_deref().unwrap_or("another guest");
        let why = format!("network '{name}' keeps {address} for {whose}");
        let advice = "choose another address, or end that with `virsh net-update`";
        return Err(Fault::new(Kind::AlreadyExists, why).advise(advice));
    }
    let host = format!("<host mac='{}' ip='{address}'/>", escape(card));
    match known.of(card) {
        Some(own) if own.address == Some(address) => Ok(()),
        Some(own) if own.named => {
            let why = format!("network '{name}' keeps another address for {card}, with a name");
            let advice = "end that with `virsh net-update`, or choose that address";
            Err(Fault::new(Kind::AlreadyExists, why).advise(advice))
        }
        Some(_) => update(&network, sys::VIR_NETWORK_UPDATE_COMMAND_MODIFY, &host),
        None => update(&network, sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, &host),
    }
}

pub(super) fn release(connection: &Connect, name: &str, card: &str) -> Call<()> {
    let network = match lookup(connection, name) {
        Err(fault) if fault.kind == Kind::NoSuchNetwork => return Ok(()),
        network => network?,
    };
    match gives(&network.get_xml_desc(0)?)?.unwrap_or_default().of(card) {
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

/// What a network gives; none: it gives no addresses.
fn gives(xml: &str) -> Call<Option<Gives>> {
    let network = parse(xml)?;
    let mut gives = Gives::default();
    let mut any = false;
    for (ip, dhcp) in network.children("ip").filter_map(|ip| Some((ip, ip.child("dhcp")?))) {
        any = true;
        gives.parts.extend(part(ip));
        gives.reserved.extend(dhcp.children("host").map(|host| Reserved {
            card: host.attribute("mac").map(str::to_lowercase),
            address: host.attribute("ip").and_then(|ip| ip.parse().ok()),
            named: host.attribute("name").is_some(),
        }));
    }
    Ok(any.then_some(gives))
}

/// A network's own address, and the length of the prefix; none: it is of IPv6.
fn part(ip: &Element) -> Option<(Ipv4Addr, u32)> {
    let own: Ipv4Addr = ip.attribute("address")?.parse().ok()?;
    let mask = |mask: &str| Some(u32::from(mask.parse::<Ipv4Addr>().ok()?).leading_ones());
    let prefix = match (ip.attribute("prefix"), ip.attribute("netmask")) {
        (Some(prefix), _) => prefix.parse().ok()?,
        (None, Some(netmask)) => mask(netmask)?,
        // As libvirt has it: that of the address's class.
        (None, None) => match own.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            _ => 24,
        },
    };
    (prefix <= 32).then_some((own, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_network_keeps_for_whom_is_read() {
        let dhcp = "<network><name>lan</name><ip address='10.0.0.1' netmask='255.255.255.0'><dhcp>\
            <range start='10.0.0.100' end='10.0.0.200'/><host mac='52:54:00:AA:bb:cc' ip='10.0.0.5'/>\
            <host mac='52:54:00:00:00:01' name='web' ip='10.0.0.6'/></dhcp></ip></network>";
        let found = gives(dhcp).unwrap().unwrap();
        assert_eq!(found.reserved.len(), 2);
        let one = found.of("52:54:00:aa:bb:cc").unwrap();
        assert_eq!((one.address, one.named), ("10.0.0.5".parse().ok(), false));
        assert!(found.of("52:54:00:00:00:01").unwrap().named);
        let bare = "<network><name>lab</name><bridge name='virbr9'/></network>";
        assert_eq!(gives(bare).unwrap(), None);
    }

    #[test]
    fn an_address_that_a_network_could_never_give_is_told_from_one_that_it_could() {
        let lan = "<network><ip address='10.0.0.1' prefix='24'><dhcp/></ip>\
            <ip address='10.9.0.1' netmask='255.255.0.0'/><ip family='ipv6' address='fd00::1' prefix='64'/>\
            <ip address='192.168.4.129' netmask='255.255.255.128'><dhcp/></ip></network>";
        let found = gives(lan).unwrap().unwrap();
        let could = |text: &str| found.could_give(text.parse().unwrap());
        assert!(could("10.0.0.5") && could("192.168.4.130"));
        assert!(!could("10.1.0.5") && !could("192.168.4.5"), "of no part of it");
        assert!(!could("10.9.0.5"), "of a part that gives none");
        assert!(!could("10.0.0.1") && !could("10.0.0.0") && !could("10.0.0.255"), "nobody's to have");
    }
}

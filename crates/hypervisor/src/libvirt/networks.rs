//! Networks that lead nowhere, for copies that are only tried. This module must never touch a
//! network that was not made here.

use quick_xml::escape::escape;
use virt::{connect::Connect, network::Network};

use super::fault::Call;

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

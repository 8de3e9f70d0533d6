//! Mappings of networks and storage classes.

use farshore_vault::Core;

use super::site_name;
use crate::views::MappingView;

pub(in crate::vault) fn mappings(core: &Core) -> Vec<MappingView> {
    let view = |of: &str, from_site, from: &str, to_site, to: &str| MappingView {
        of: of.to_owned(),
        from_site: site_name(core, from_site),
        from: from.to_owned(),
        to_site: site_name(core, to_site),
        to: to.to_owned(),
    };
    let networks = core.network_maps().map(|m| view("network", m.from_site, &m.from, m.to_site, &m.to));
    let storage = core.storage_maps().map(|m| view("storage", m.from_site, &m.from, m.to_site, &m.to));
    networks.chain(storage).collect()
}

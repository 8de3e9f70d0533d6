//! Mappings of networks and storage classes.

use farshore_types::SiteId;
use farshore_vault::Core;

use super::site_name;
use crate::views::{Mapped, MappingView};

/// A mapping, of either kind.
#[derive(Clone, Copy)]
pub(in crate::vault) struct Mapping<'a> {
    pub(in crate::vault) of: Mapped,
    pub(in crate::vault) from_site: SiteId,
    pub(in crate::vault) from: &'a str,
    pub(in crate::vault) to_site: SiteId,
    pub(in crate::vault) to: &'a str,
}

pub(in crate::vault) fn mappings(core: &Core) -> impl Iterator<Item = Mapping<'_>> {
    let networks = core.network_maps().map(|row| Mapping {
        of: Mapped::Network,
        from_site: row.from_site,
        from: &row.from,
        to_site: row.to_site,
        to: &row.to,
    });
    let storage = core.storage_maps().map(|row| Mapping {
        of: Mapped::Storage,
        from_site: row.from_site,
        from: &row.from,
        to_site: row.to_site,
        to: &row.to,
    });
    networks.chain(storage)
}

pub(in crate::vault) fn mapping(core: &Core, one: &Mapping<'_>) -> MappingView {
    MappingView {
        of: one.of,
        from_site: site_name(core, one.from_site),
        from: one.from.to_owned(),
        to_site: site_name(core, one.to_site),
        to: one.to.to_owned(),
    }
}

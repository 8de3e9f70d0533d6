//! Who is heard of, and who is not any more. This module must never judge how bad that is.

use std::collections::HashMap;

use farshore_health::SILENT_MS;
use farshore_types::{HostId, SiteId};
use farshore_vault::{Core, Moment};

use crate::views::{Contact, EventView};

/// Who was heard of.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    hosts: HashMap<HostId, Contact>,
    sites: HashMap<SiteId, Contact>,
}

impl Contacts {
    pub(super) fn changes(&mut self, core: &Core, at: &Moment, found: &mut Vec<EventView>) {
        for site in core.sites() {
            let silent = core.site_seen(site.id).map(|seen| at.mono_ms.saturating_sub(seen.mono_ms));
            let Some(contact) = contact(silent) else { continue };
            if self.sites.insert(site.id, contact) != Some(contact) {
                found.push(EventView::Site { id: site.id, name: site.name.clone(), contact });
            }
        }
        for host in core.hosts().filter(|host| !host.removed) {
            let Some(contact) = contact(core.heard_ms(host.id, at)) else { continue };
            if self.hosts.insert(host.id, contact) != Some(contact) {
                found.push(EventView::Host { id: host.id, name: host.name.clone(), contact });
            }
        }
        self.sites.retain(|id, _| core.site(*id).is_some());
        self.hosts.retain(|id, _| core.host(*id).is_some_and(|host| !host.removed));
    }
}

/// None: it was never heard of since this vault began, and so was not lost either.
fn contact(silent_ms: Option<u64>) -> Option<Contact> {
    silent_ms.map(|ms| if ms < SILENT_MS { Contact::Seen } else { Contact::Lost })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_silent_for_two_minutes_is_lost_and_who_never_spoke_is_not() {
        assert_eq!(contact(Some(SILENT_MS - 1)), Some(Contact::Seen));
        assert_eq!(contact(Some(SILENT_MS)), Some(Contact::Lost));
        assert_eq!(contact(None), None);
    }
}

//! When documents were taken, counted, and for whom: what a host is asked after is found
//! without looking at everybody else's. This module must never know what a document says.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use farshore_control::{Document, Key};
use farshore_types::HostId;

/// The order in which documents were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    last: u32,
    /// Of each document, when it was taken last, and for whom.
    at: BTreeMap<Key, (u32, BTreeSet<HostId>)>,
    /// The same by host, in order.
    of: BTreeMap<HostId, BTreeMap<u32, Key>>,
}

impl Taken {
    /// A document was taken, or is offered anew, after all others.
    pub(super) fn put(&mut self, document: &Document) {
        self.forget(&document.key);
        self.last += 1;
        for host in &document.hosts {
            self.of.entry(*host).or_default().insert(self.last, document.key.clone());
        }
        self.at.insert(document.key.clone(), (self.last, document.hosts.clone()));
    }

    /// A document is not held any more.
    pub(super) fn forget(&mut self, key: &Key) {
        let Some((at, hosts)) = self.at.remove(key) else { return };
        for host in hosts {
            if let Some(own) = self.of.get_mut(&host) {
                own.remove(&at);
            }
        }
    }

    /// The count so far.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// What was taken for a host after `since`, in order; none: everything.
    pub(super) fn since(&self, host: HostId, since: Option<u32>) -> impl Iterator<Item = (u32, &Key)> {
        let after = (since.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let own = self.of.get(&host).into_iter();
        own.flat_map(move |own| own.range::<u32, _>(after)).map(|(at, key)| (*at, key))
    }
}

#[cfg(test)]
mod tests {
    use farshore_control::{Body, Term, Version};
    use farshore_types::{MachineId, VaultId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const HOSTS: u8 = 3;

    fn host(n: u8) -> HostId {
        HostId(Uuid::from_u128(n.into()))
    }

    /// For the hosts whose bits are set.
    fn document(machine: u8, hosts: u8) -> Document {
        let term = Term { number: 1, vault: VaultId(Uuid::nil()) };
        Document {
            key: Key::Protection(MachineId(Uuid::from_u128(machine.into()))),
            version: Version { term, generation: 1 },
            hosts: (0..HOSTS).filter(|n| hosts & (1 << n) != 0).map(host).collect(),
            decided: Default::default(),
            body: Body::Removed { why: String::new(), owner: None },
        }
    }

    proptest! {
        #[test]
        fn what_is_found_by_host_is_what_a_look_at_everything_finds(
            steps in prop::collection::vec((0u8..5, prop::option::of(0u8..1 << HOSTS)), 0..40),
        ) {
            let (mut taken, mut all) = (Taken::default(), Vec::<(u32, Document)>::new());
            for (machine, hosts) in steps {
                let of = document(machine, hosts.unwrap_or(0));
                all.retain(|(_, held)| held.key != of.key);
                match hosts {
                    Some(_) => {
                        taken.put(&of);
                        all.push((taken.last(), of));
                    }
                    None => taken.forget(&of.key),
                }
                for (n, since) in (0..HOSTS).flat_map(|n| (0..=taken.last()).map(move |since| (n, since))) {
                    let found: Vec<(u32, &Key)> = taken.since(host(n), Some(since)).collect();
                    let looked = all.iter().filter(|(at, held)| *at > since && held.hosts.contains(&host(n)));
                    let looked: Vec<(u32, &Key)> = looked.map(|(at, held)| (*at, &held.key)).collect();
                    prop_assert_eq!(found, looked);
                }
                prop_assert_eq!(taken.since(host(0), None).count(), taken.since(host(0), Some(0)).count());
            }
        }
    }
}

//! Documents, made of rows, in this one place. A body or an audience that changed raises the
//! generation; what no row asks for any more is said to be removed by the row that stays of
//! it, never by leaving it out (rule R5).

use std::collections::{BTreeMap, BTreeSet};

use farshore_control::{
    Body, Document, Endpoint, HostDocument, Key, Peer, Protection, Settings, TrustDocument, Version,
};
use farshore_types::{CloudId, Epoch, EpochOrder, HostId, SiteId};

use super::Core;
use crate::{
    Moment,
    rows::{DocumentRow, HostRow, ProtectionRow, RequestRow},
};

/// What is wanted, and of whom.
type Wanted = (BTreeSet<HostId>, Body);

impl Core {
    /// Writes every document that is not as the rows want it.
    pub(crate) fn publish(&mut self, at: &Moment) {
        if !self.may_issue(at) {
            return;
        }
        for (key, (hosts, body)) in self.wanted() {
            self.write_document(key, &hosts, body);
        }
        for document in self.ends_that_were_only_learned() {
            self.write_document(document.key, &document.hosts, document.body);
        }
    }

    /// Ends of protections of which the rows, which are older, know nothing: another host may
    /// not have heard of them.
    fn ends_that_were_only_learned(&self) -> Vec<Document> {
        let unknown = |key: &Key| matches!(key, Key::Protection(machine) if self.tables.protections.get(machine).is_none());
        let term = self.term();
        let of_before = |row: &&DocumentRow| row.sequence == 0 || row.document.version.term != term;
        let learned = self.tables.documents.rows().filter(of_before);
        let documents = learned.map(|row| &row.document).filter(|document| unknown(&document.key));
        documents.filter(|document| matches!(document.body, Body::Removed { .. })).cloned().collect()
    }

    fn write_document(&mut self, key: Key, wanted: &BTreeSet<HostId>, body: Body) {
        let head = self.head();
        let held = self.tables.documents.get(&key);
        let before = held.map(|row| row.document.hosts.clone()).unwrap_or_default();
        // Who was named before is still to learn that it is not any more.
        let known = |host: &HostId| self.tables.hosts.get(host).is_some() && self.may_speak_to(*host);
        let hosts: BTreeSet<HostId> = wanted.union(&before).copied().filter(known).collect();
        if hosts.is_empty() && !matches!(key, Key::Trust(_)) {
            return;
        }
        let version = match held {
            // One of before, or one that was learned.
            Some(row) if row.document.version.term != head.term || row.sequence == 0 => {
                row.document.version.next(head.term)
            }
            Some(row) if row.document.body == body && row.document.hosts == hosts => return,
            Some(row) => row.document.version.next(head.term),
            None => Version { term: head.term, generation: 1 },
        };
        let sequence = head.sequence + 1;
        self.tables.head.change(&(), |head| head.sequence = sequence);
        let mut document = Document::new(key, version, hosts, body);
        if let Some(row) = held {
            document = document.after(&row.document);
        }
        self.tables.documents.put(DocumentRow { document, sequence });
    }

    /// Everything that the rows want.
    fn wanted(&self) -> BTreeMap<Key, Wanted> {
        let mut wanted = BTreeMap::new();
        wanted.extend(self.wanted_of_trust());
        let peers = self.peers();
        wanted.extend(self.tables.hosts.rows().map(|host| wanted_of_host(host, &peers)));
        wanted.extend(self.tables.protections.rows().filter_map(|row| self.wanted_of_protection(row)));
        wanted.extend(self.tables.requests.rows().map(wanted_of_request));
        wanted
    }

    fn wanted_of_trust(&self) -> impl Iterator<Item = (Key, Wanted)> {
        let trust = self.tables.trust.get(&());
        let sites =
            trust.into_iter().flat_map(|trust| self.tables.sites.rows().map(move |site| (trust, site)));
        sites.map(|(trust, site)| {
            let body = TrustDocument {
                authority_pem: trust.authority_pem.clone(),
                revoked_pem: trust.revoked_pem.clone(),
                revoked_number: trust.revoked_number,
            };
            (Key::Trust(site.id), (self.hosts_of(site.id), Body::Trust(body)))
        })
    }

    fn hosts_of(&self, site: SiteId) -> BTreeSet<HostId> {
        let here = self.tables.hosts.rows().filter(|host| host.site == site && !host.removed);
        here.map(|host| host.id).collect()
    }

    /// Whom each host may replicate with: those of the paired cloud, and the other ends of
    /// its protections, wherever they are.
    fn peers(&self) -> BTreeMap<HostId, BTreeMap<HostId, Peer>> {
        let mut of_cloud: BTreeMap<CloudId, Vec<&HostRow>> = BTreeMap::new();
        for host in self.tables.hosts.rows().filter(|host| !host.removed) {
            if let Some(cloud) = host.cloud {
                of_cloud.entry(cloud).or_default().push(host);
            }
        }
        let mut pairs: BTreeSet<(HostId, HostId)> = BTreeSet::new();
        for cloud in self.tables.clouds.rows() {
            let Some((other, _)) = cloud.pair else { continue };
            let (here, there) = (of_cloud.get(&cloud.id), of_cloud.get(&other));
            for (one, other) in
                here.into_iter().flatten().flat_map(|h| there.into_iter().flatten().map(move |t| (h, t)))
            {
                pairs.insert((one.id, other.id));
            }
        }
        for row in self.tables.protections.rows().filter(|row| row.is_live()) {
            pairs.extend([(row.source(), row.target()), (row.target(), row.source())]);
        }
        let mut peers: BTreeMap<HostId, BTreeMap<HostId, Peer>> = BTreeMap::new();
        for (one, other) in pairs {
            if let Some(host) = self.tables.hosts.get(&other).filter(|host| !host.removed && one != other) {
                peers.entry(one).or_default().insert(other, peer_of(host));
            }
        }
        peers
    }

    fn wanted_of_protection(&self, row: &ProtectionRow) -> Option<(Key, Wanted)> {
        let key = Key::Protection(row.machine);
        let hosts = BTreeSet::from(row.hosts());
        if let Some(ended) = &row.ended {
            let (why, owner) = (ended.why.clone(), self.owner_at_end(row));
            return Some((key, (hosts, Body::Removed { why, owner })));
        }
        // Of a row of before whose owner is not known, nobody is told anything.
        let body = self.protection_body(row).filter(|_| !row.is_of_before())?;
        Some((key, (hosts, Body::Protection(Box::new(body)))))
    }

    /// Who owns a machine whose protection has ended; none: that is not certain.
    fn owner_at_end(&self, row: &ProtectionRow) -> Option<(Epoch, HostId)> {
        let last = (row.life.epoch, row.source());
        let Some(known) = self.tables.epochs.get(&row.machine) else { return Some(last) };
        if known.conflict.is_some() {
            return None;
        }
        match last.0.order_of(&known.epoch) {
            EpochOrder::Conflict => None,
            EpochOrder::Newer => Some((known.epoch, known.owner)),
            EpochOrder::Same | EpochOrder::Older => Some(last),
        }
    }

    fn protection_body(&self, row: &ProtectionRow) -> Option<Protection> {
        let end = |host: HostId| {
            // One without an address is only learned of: what its peers hold is better.
            let host = self.tables.hosts.get(&host).filter(|host| !host.address.is_empty())?;
            Some(Endpoint { host: host.id, name: host.name.clone(), address: host.address.clone() })
        };
        Some(Protection {
            machine: row.machine,
            name: row.name.clone(),
            epoch: row.life.epoch,
            source: end(row.source())?,
            target: end(row.target())?,
            intent: row.intent(),
            initial: row.initial,
            resync: row.resync,
            excluded: row.excluded.clone(),
            settings: self.settings_of(row)?,
            place: row.place_at_target(),
            networks: self.networks_between(row.source(), row.target()),
            networks_back: self.networks_between(row.target(), row.source()),
            addresses: row.addresses.clone(),
            twin: row.twin.map(|host| self.host_name(host)),
            life: Some(row.life.clone()),
        })
    }

    /// What a protection's agents are told: what was learned, else what the policy says.
    pub(crate) fn settings_of(&self, row: &ProtectionRow) -> Option<Settings> {
        if let Some(settings) = &row.settings {
            return Some(settings.clone());
        }
        Some(Settings::from(&self.tables.policies.get(&row.policy?)?.policy))
    }

    /// Networks of one host's site and what they are at the other's: those that are mapped,
    /// and where only the other way is, what that comes to the other way round. A network to
    /// which two are mapped has no way back that could be known.
    pub(crate) fn networks_between(&self, from: HostId, to: HostId) -> BTreeMap<String, String> {
        let site = |host: &HostId| self.tables.hosts.get(host).map(|host| host.site);
        let (Some(from), Some(to)) = (site(&from), site(&to)) else { return BTreeMap::new() };
        let rows = || self.tables.networks.rows();
        let mut networks: BTreeMap<String, String> = BTreeMap::new();
        for back in rows().filter(|row| row.from_site == to && row.to_site == from && from != to) {
            let same = rows().filter(|row| row.from_site == to && row.to_site == from && row.to == back.to);
            if same.count() == 1 {
                networks.insert(back.to.clone(), back.from.clone());
            }
        }
        let there = rows().filter(|row| row.from_site == from && row.to_site == to);
        networks.extend(there.map(|row| (row.from.clone(), row.to.clone())));
        networks
    }
}

fn wanted_of_host(host: &HostRow, peers: &BTreeMap<HostId, BTreeMap<HostId, Peer>>) -> (Key, Wanted) {
    let body = if host.removed {
        Body::Removed { why: "the host was removed from the vault".to_owned(), owner: None }
    } else {
        let peers = peers.get(&host.id).map(|peers| peers.values().cloned().collect()).unwrap_or_default();
        let (name, address) = (host.name.clone(), host.address.clone());
        let (maintenance, machines_go_on) = (host.maintenance, host.machines_go_on);
        let principal = host.principal.clone();
        Body::Host(HostDocument { name, maintenance, machines_go_on, address, principal, peers })
    };
    (Key::Host(host.id), ([host.id].into(), body))
}

fn wanted_of_request(row: &RequestRow) -> (Key, Wanted) {
    let body = if row.is_open() {
        Body::Request(row.request.clone())
    } else {
        Body::Removed { why: "its outcome is known, or it is not wanted any more".to_owned(), owner: None }
    };
    (Key::Request(row.id), ([row.host].into(), body))
}

pub(crate) fn peer_of(host: &HostRow) -> Peer {
    Peer {
        host: host.id,
        name: host.name.clone(),
        address: host.address.clone(),
        principal: host.principal.clone(),
    }
}

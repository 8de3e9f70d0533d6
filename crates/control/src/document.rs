//! What the vault wants, as documents: each is whole, and replaces the one before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use farshore_protection::Life;
use farshore_types::{DiskKey, Epoch, HostId, MachineId, SiteId};
use serde::{Deserialize, Serialize};

use crate::{Part, Version, request::Request};

/// What a document is about. There is one document a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of", content = "id")]
pub enum Key {
    /// Whom to trust, for every host of a site and its site server.
    Trust(SiteId),
    /// A host as a whole.
    Host(HostId),
    /// The protection of a machine; the same document for both hosts.
    Protection(MachineId),
    /// One request to one host.
    Request(farshore_types::RequestId),
}

/// A document and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// What it is about.
    pub key: Key,
    /// Orders it among the documents of its key.
    pub version: Version,
    /// The hosts whose agents are to have it. One that was named before and is not any
    /// more still gets it, so that it learns of that.
    pub hosts: BTreeSet<HostId>,
    /// What is wanted.
    pub body: Body,
    /// In which version each part was decided as it is; what is not named: in this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decided: BTreeMap<Part, Version>,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "body")]
pub enum Body {
    /// For [`Key::Trust`].
    Trust(TrustDocument),
    /// For [`Key::Host`].
    Host(HostDocument),
    /// For [`Key::Protection`].
    Protection(Box<Protection>),
    /// For [`Key::Request`].
    Request(Request),
    /// There is nothing to be done any more (rule R5: only this ends anything). A replica
    /// stays where it is: to delete it is a request of its own.
    Removed {
        /// Why, for people.
        why: String,
        /// Of a protection: which host owned the machine when it ended, and by which epoch, where
        /// that is certain. Whether the machine starts with its host is that one's from then on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<(Epoch, HostId)>,
    },
}

/// Whom to trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustDocument {
    /// Certificates of the authority, PEM; more than one while it is being changed.
    pub authority_pem: String,
    /// Its list of revoked certificates, PEM.
    pub revoked_pem: String,
    /// Number of that list; it only rises.
    pub revoked_number: u64,
}

/// A host as the vault wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDocument {
    /// Its name.
    pub name: String,
    /// Whether its roles are moved away or paused, and no new one comes.
    pub maintenance: bool,
    /// Whether its machines are replicated in maintenance all the same, until they have moved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub machines_go_on: bool,
    /// Its own address for replication, as others are told it; empty: a vault of before wrote
    /// this, or it is only learned of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Its own Kerberos principal, as others are told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// The hosts it may replicate with.
    pub peers: Vec<Peer>,
}

/// A host that another may meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub host: HostId,
    /// The name in its certificate.
    pub name: String,
    /// Its address for replication, `host:port`.
    pub address: String,
    /// Its Kerberos principal, where a policy uses Kerberos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// How one machine is protected. Both hosts read it; each finds its own part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protection {
    /// The machine.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// Lineage: the host of `source` runs the machine and writes the replica by it (R1).
    pub epoch: Epoch,
    /// The host that runs the machine.
    pub source: Endpoint,
    /// The host that keeps the replica.
    pub target: Endpoint,
    /// What is to happen now.
    pub intent: Intent,
    /// How the first copy is made.
    #[serde(default)]
    pub initial: InitialCopy,
    /// Raised by one to ask for a comparison of everything.
    #[serde(default)]
    pub resync: u64,
    /// Disks that are left out.
    #[serde(default)]
    pub excluded: BTreeSet<DiskKey>,
    /// What the policy says.
    pub settings: Settings,
    /// Directory for the replica at the target; none: its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Networks of the source, and what they are at the target; what is not named is left
    /// unconnected.
    #[serde(default)]
    pub networks: BTreeMap<String, String>,
    /// Networks of the target, and what they are at the source: for a source that brings up what
    /// came from there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks_back: BTreeMap<String, String>,
    /// The addresses that the guest's network cards should have, on each side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<CardAddress>,
    /// The name of another host that runs a machine of the same identity at the same time:
    /// nothing is replicated until only one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// Its life, whole, of which each host does what [`Life::wanted`] says, and from which the
    /// fields above are derived; none: a vault of before wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<Life>,
}

/// The addresses that a network card of a guest should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardAddress {
    /// The card's hardware address, in lower case: `52:54:00:12:34:56`.
    pub card: String,
    /// On the side where protection began; none: none is asked for there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<IpAddr>,
    /// On the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<IpAddr>,
}

/// One end of a protection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The host.
    pub host: HostId,
    /// The name in its certificate.
    pub name: String,
    /// Its address for replication, `host:port`.
    pub address: String,
}

/// What is to happen with a protection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// Cycles run.
    Replicate,
    /// Nothing is sent; changes go on being recorded.
    Pause,
}

/// How the first copy is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum InitialCopy {
    /// Over the network, at once.
    #[default]
    Now,
    /// Over the network, not before an instant.
    NotBefore {
        /// Milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// It is carried over on a medium; only what changed meanwhile is sent.
    Offline,
    /// The target has a copy already; only what differs is sent.
    Existing,
}

/// Whether something is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As the line needs it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// By what two agents know each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// Certificates of the vault's authority.
    #[default]
    Certificate,
    /// Kerberos inside TLS, the channel bound.
    Kerberos,
}

/// Settings of one replication, as its policy has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Seconds from one cycle to the next.
    pub copy_frequency_secs: u64,
    /// Seconds from one application-consistent point to the next; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_consistent_secs: Option<u64>,
    /// What is kept.
    pub retention: KeepPoints,
    /// Compression on the wire.
    pub compression: Compression,
    /// Whether the replica keeps what arrived compressed as it is.
    pub replica_compression: bool,
    /// Whether small writes travel as what they are.
    pub small_writes: bool,
    /// Authentication between the agents.
    pub wire: Wire,
    /// Most bytes a second outside every window; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Other limits at other times; the first that matches counts.
    #[serde(default)]
    pub bandwidth_windows: Vec<RateWindow>,
    /// When a resync may begin by itself, in minutes of the source's local day; none: only
    /// when asked for. Equal ends: at any time. It may cross midnight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resync_window: Option<(u16, u16)>,
}

/// Another limit at some time of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateWindow {
    /// Days it holds on: bit 0 is Monday.
    pub days: u8,
    /// From this minute of the source's local day on.
    pub from_minute: u16,
    /// Up to this one; smaller than `from_minute`: of the next day.
    pub until_minute: u16,
    /// Most bytes a second; none: no limit.
    pub bandwidth: Option<u64>,
}

/// How long recovery points are kept at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepPoints {
    /// Every point younger than this many seconds.
    pub every_point_secs: u64,
    /// Of those older, one an hour up to this age.
    pub hourly_secs: u64,
    /// Of those older still, one a day up to this age.
    pub daily_secs: u64,
    /// Never more points than this.
    pub points_max: usize,
}

impl Document {
    /// A document of which every part is decided now.
    #[must_use]
    pub fn new(key: Key, version: Version, hosts: BTreeSet<HostId>, body: Body) -> Document {
        Document { key, version, hosts, body, decided: BTreeMap::new() }
    }

    /// The epoch it carries, if it is about a protection.
    #[must_use]
    pub fn epoch(&self) -> Option<&Epoch> {
        match &self.body {
            Body::Protection(protection) => Some(&protection.epoch),
            _ => None,
        }
    }

    /// Whether its body is of its key's kind.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        match (&self.key, &self.body) {
            (Key::Trust(_), Body::Trust(_)) | (Key::Host(_), Body::Host(_)) | (_, Body::Removed { .. }) => {
                true
            }
            (Key::Protection(machine), Body::Protection(body)) => body.machine == *machine,
            (Key::Request(id), Body::Request(request)) => request.id == *id,
            _ => false,
        }
    }
}

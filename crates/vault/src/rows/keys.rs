//! Keys of rows as the store has them: ids, or ids and names with a slash between. A name can
//! hold a slash itself; it is always the last part.

use farshore_control::Key;

use crate::{rows::*, table::Row};

macro_rules! keyed {
    ($($row:ident, $kind:literal, $key:ty, $field:ident;)*) => {$(
        impl Row for $row {
            const KIND: &'static str = $kind;
            type Key = $key;

            fn key(&self) -> $key {
                self.$field
            }

            fn key_text(key: &$key) -> String {
                key.to_string()
            }
        }
    )*};
}

keyed! {
    SiteRow, "site", farshore_types::SiteId, id;
    CloudRow, "cloud", farshore_types::CloudId, id;
    HostRow, "host", farshore_types::HostId, id;
    PolicyRow, "policy", farshore_types::PolicyId, id;
    AssociationRow, "association", farshore_types::CloudId, cloud;
    ProtectionRow, "protection", farshore_types::MachineId, machine;
    EpochRow, "epoch", farshore_types::MachineId, machine;
    RequestRow, "request", farshore_types::RequestId, id;
    AlertRow, "alert", uuid::Uuid, id;
    NoticeRow, "notice", u64, number;
    TokenRow, "token", uuid::Uuid, id;
    ObservedRow, "observed", farshore_types::HostId, host;
    SuspectRow, "suspect", farshore_types::MachineId, machine;
}

impl Row for MachineRow {
    const KIND: &'static str = "machine";
    type Key = (farshore_types::HostId, farshore_types::MachineId);

    fn key(&self) -> Self::Key {
        (self.host, self.facts.id)
    }

    fn key_text((host, machine): &Self::Key) -> String {
        format!("{host}/{machine}")
    }
}

impl Row for DocumentRow {
    const KIND: &'static str = "document";
    type Key = Key;

    fn key(&self) -> Key {
        self.document.key.clone()
    }

    fn key_text(key: &Key) -> String {
        match key {
            Key::Trust(site) => format!("trust/{site}"),
            Key::Host(host) => format!("host/{host}"),
            Key::Protection(machine) => format!("protection/{machine}"),
            Key::Request(id) => format!("request/{id}"),
        }
    }
}

impl Row for JobRow {
    const KIND: &'static str = "job";
    type Key = farshore_types::JobId;

    fn key(&self) -> Self::Key {
        self.job.id
    }

    fn key_text(key: &Self::Key) -> String {
        key.to_string()
    }
}

macro_rules! mapping {
    ($($row:ident, $kind:literal;)*) => {$(
        impl Row for $row {
            const KIND: &'static str = $kind;
            type Key = (farshore_types::SiteId, farshore_types::SiteId, String);

            fn key(&self) -> Self::Key {
                (self.from_site, self.to_site, self.from.clone())
            }

            fn key_text((from_site, to_site, from): &Self::Key) -> String {
                format!("{from_site}/{to_site}/{from}")
            }
        }
    )*};
}

mapping! {
    NetworkMapRow, "network-map";
    StorageMapRow, "storage-map";
}

impl Row for OperationRow {
    const KIND: &'static str = "operation";
    type Key = String;

    fn key(&self) -> String {
        self.key.clone()
    }

    fn key_text(key: &String) -> String {
        key.clone()
    }
}

macro_rules! single {
    ($($row:ident, $kind:literal;)*) => {$(
        impl Row for $row {
            const KIND: &'static str = $kind;
            type Key = ();

            fn key(&self) {}

            fn key_text((): &()) -> String {
                "the".to_owned()
            }
        }
    )*};
}

single! {
    HeadRow, "head";
    TrustRow, "trust";
    LearningRow, "learning";
}

//! The rows, to be read.

use farshore_control::{Term, TrustDocument};
use farshore_types::{CloudId, HostId, MachineId, PolicyId, SiteId};

use super::Core;
use crate::rows::*;

macro_rules! views {
    ($($(#[$doc:meta])* $all:ident, $one:ident, $key:ty, $row:ty;)*) => {
        impl Core {
            $(
                $(#[$doc])*
                pub fn $all(&self) -> impl DoubleEndedIterator<Item = &$row> {
                    self.tables.$all.rows()
                }

                /// One of them.
                #[must_use]
                pub fn $one(&self, key: $key) -> Option<&$row> {
                    self.tables.$all.get(&key)
                }
            )*
        }
    };
}

views! {
    /// All sites.
    sites, site, SiteId, SiteRow;
    /// All clouds.
    clouds, cloud, CloudId, CloudRow;
    /// All hosts, removed ones too.
    hosts, host, HostId, HostRow;
    /// All machines, a row for each host that has one.
    machines, machine_on, (HostId, MachineId), MachineRow;
    /// All policies.
    policies, policy, PolicyId, PolicyRow;
    /// Which policy holds for which cloud.
    associations, association, CloudId, AssociationRow;
    /// All protections, ended ones too.
    protections, protection, MachineId, ProtectionRow;
    /// Epochs of all machines that are or were protected.
    epochs, epoch, MachineId, EpochRow;
    /// Requests to hosts.
    requests, request, farshore_types::RequestId, RequestRow;
    /// Jobs: all open ones, and those that ended lately.
    jobs, job, farshore_types::JobId, JobRow;
    /// All documents.
    documents, document, farshore_control::Key, DocumentRow;
    /// Alerts, those that are over too.
    alerts, alert, uuid::Uuid, AlertRow;
    /// Notices that wait for being sent, oldest first.
    notices, notice, u64, NoticeRow;
    /// Tokens of the API.
    tokens, token, uuid::Uuid, TokenRow;
    /// Commands that were done under an idempotency key.
    operations, operation, String, OperationRow;
    /// What hosts said last.
    observed, observed_of, HostId, ObservedRow;
}

impl Core {
    /// The term of the vault that commands instead of this one.
    #[must_use]
    pub fn superseded_by(&self) -> Option<Term> {
        self.head().superseded
    }

    /// Mappings of networks.
    pub fn network_maps(&self) -> impl Iterator<Item = &NetworkMapRow> {
        self.tables.networks.rows()
    }

    /// Mappings of storage classes.
    pub fn storage_maps(&self) -> impl Iterator<Item = &StorageMapRow> {
        self.tables.storage.rows()
    }

    /// Whom members are to trust; none before the first order of that.
    #[must_use]
    pub fn trust(&self) -> Option<TrustDocument> {
        let row = self.tables.trust.get(&())?.clone();
        let TrustRow { authority_pem, revoked_pem, revoked_number } = row;
        Some(TrustDocument { authority_pem, revoked_pem, revoked_number })
    }

    /// The policy that holds for a cloud.
    #[must_use]
    pub fn policy_of(&self, cloud: CloudId) -> Option<&PolicyRow> {
        self.tables.policies.get(&self.tables.associations.get(&cloud)?.policy)
    }

    /// Where a live protection's replica is on the way from, while the copy on its target is
    /// not whole.
    #[must_use]
    pub fn leaving<'a>(&self, row: &'a ProtectionRow) -> Option<&'a Leaving> {
        row.leaving_by(self.tables.epochs.get(&row.machine)).filter(|_| row.is_live())
    }

    /// A host's name, or its id where it has none.
    pub(crate) fn host_name(&self, host: HostId) -> String {
        self.tables.hosts.get(&host).map_or_else(|| host.to_string(), |row| row.name.clone())
    }
}

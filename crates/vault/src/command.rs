//! What an operator can order. Each is done wholly or not at all; done again under the same
//! idempotency key it is not done again, and gives the answer of before.

mod address;
mod cloud;
mod disable;
mod discard;
mod enable;
mod forget;
mod host;
mod maintenance;
mod mapping;
mod operate;
mod points;
mod policy;
mod relocate;
mod site;
mod token;

pub(crate) use enable::ENABLE_MAX;
pub use maintenance::{MachinesThen, Maintenance, ReplicasThen};

use std::{collections::BTreeSet, net::IpAddr};

use farshore_control::InitialCopy;
use farshore_policy::{OnDisable, PolicyPatch};
use farshore_protection::{Operation, Order};
use farshore_types::{CloudId, DiskKey, HostId, JobId, MachineId, PointId, PolicyId, SiteId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Answer, Core, Moment, Problem, rows::OperationRow};

/// Milliseconds for which an idempotency key is remembered.
pub(crate) const OPERATIONS_KEPT_MS: u64 = 24 * 3_600_000;

/// Longest idempotency key, in bytes.
pub(crate) const OPERATION_KEY_MAX: usize = 128;

/// Longest name, in bytes.
pub(crate) const NAME_MAX: usize = 128;

/// What an operator orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
#[expect(missing_docs, reason = "fields are named as the rows that they become")]
pub enum Command {
    /// Makes a site, whose clocks are `ahead_minutes` ahead of UTC, -840 to 840.
    AddSite { name: String, ahead_minutes: i16 },
    /// Gives a site another name.
    RenameSite { site: SiteId, name: String },
    /// Removes a site without clouds and hosts.
    RemoveSite { site: SiteId },
    /// Makes a cloud in a site.
    AddCloud { site: SiteId, name: String },
    /// Gives a cloud another name.
    RenameCloud { cloud: CloudId, name: String },
    /// Removes a cloud without hosts, pair and policy.
    RemoveCloud { cloud: CloudId },
    /// The machines of `source` are protected by replicas in `target`.
    PairClouds { source: CloudId, target: CloudId },
    /// Ends a pair by which nothing is protected.
    UnpairCloud { cloud: CloudId },
    /// Makes a host known under this term; `address` is that for replication, `host:port`.
    /// `id` is that of its certificate, where it has one already.
    AddHost { id: Option<HostId>, cloud: CloudId, name: String, address: String, principal: Option<String> },
    /// Gives a host another name: that of its certificate.
    RenameHost { host: HostId, name: String },
    /// Changes where a host is reached for replication, and its Kerberos principal: none
    /// leaves that as it is, an empty one takes it away.
    SetHostAddress { host: HostId, address: String, principal: Option<String> },
    /// Puts a host into a cloud of its site.
    SetHostCloud { host: HostId, cloud: CloudId },
    /// Lets a host take no new role, or ends that.
    SetMaintenance {
        host: HostId,
        on: bool,
        #[serde(default)]
        how: Maintenance,
    },
    /// Removes a host that has no role; it is told.
    RemoveHost { host: HostId },
    /// Forgets a host that is gone for good, and all protections with an end on it. `force`:
    /// although it answers.
    ForgetHost { host: HostId, force: bool },
    /// Forgets a site that is gone for good, with its clouds and hosts.
    ForgetSite { site: SiteId, force: bool },
    /// Moves the replica of a machine to another host of its cloud; none: by room. What the
    /// old host has is deleted only when the new copy is whole, and `delete_old` says so.
    MoveReplica { machine: MachineId, to: Option<HostId>, delete_old: bool },
    /// Asks the host that has a machine's recovery points for them, the newest first; the answer's
    /// id is the request's. `by`: of the host on which that order would bring one up; `before`: only
    /// older ones; `application`: only those for which the guest's file systems were frozen; `limit`:
    /// 1 to [`farshore_control::request::POINTS_MAX`].
    AskPoints {
        machine: MachineId,
        by: Option<Operation>,
        before: Option<PointId>,
        application: bool,
        limit: u32,
    },
    /// Deletes a replica that no protection wants. `force`: though it may be the only copy.
    DiscardReplica { host: HostId, machine: MachineId, force: bool },
    /// Makes a policy of the defaults and these settings.
    AddPolicy { name: String, settings: PolicyPatch },
    /// Gives a policy another name.
    RenamePolicy { policy: PolicyId, name: String },
    /// Changes some settings; running protections take them without a new first copy.
    ChangePolicy { policy: PolicyId, settings: PolicyPatch },
    /// Removes a policy that nothing follows.
    RemovePolicy { policy: PolicyId },
    /// No policy: the association ends. Protections go on as they were.
    Associate { cloud: CloudId, policy: Option<PolicyId> },
    /// Says what a network is at the other site.
    MapNetwork(MapTo),
    /// Says what a storage class is at the other site.
    MapStorage(MapTo),
    /// Protects machines.
    Enable(Enable),
    /// Pauses a protection, or lets it go on.
    SetPaused { machine: MachineId, paused: bool },
    /// Asks for a comparison of everything.
    Resync { machine: MachineId },
    /// Orders something of a protection's life: failover in all its forms, and the way home.
    Operate { machine: MachineId, order: Box<Order> },
    /// Says which addresses a network card of a guest should have; both none: none any more.
    SetAddress { machine: MachineId, card: String, home: Option<IpAddr>, away: Option<IpAddr> },
    /// Ends a protection.
    /// `replica` is as the policy says where it is not given. `force` deletes a replica that
    /// may be the only good copy.
    Disable { machine: MachineId, replica: Option<OnDisable>, force: bool },
    /// Forgets a protection one side of which is gone for good: nothing is deleted, nobody is
    /// waited for. `force`: although both sides answer.
    Forget { machine: MachineId, force: bool },
    /// Cancels a job where that is safe: what it did is taken back, or said to stay. `by` is who
    /// wants it, for people.
    CancelJob {
        job: JobId,
        #[serde(default)]
        by: Option<String>,
    },
    /// Makes a token of the API, valid until `expires_ms` since the Unix epoch.
    AddToken { name: String, expires_ms: Option<u64> },
    /// Removes a token; it is refused from then on.
    RemoveToken { token: Uuid },
    /// Lets a token that came out of a backup hold again.
    ConfirmToken { name: String },
    /// Says whom hosts are to trust.
    SetTrust { authority_pem: String, revoked_pem: String, revoked_number: u64 },
}

/// What a network or a storage class of one site is at another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapTo {
    /// Where machines come from.
    pub from_site: SiteId,
    /// Where their replicas are; the same, where two clouds of one site are paired.
    pub to_site: SiteId,
    /// The name there.
    pub from: String,
    /// The name here; none: the mapping ends.
    pub to: Option<String>,
}

/// Machines to protect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enable {
    /// Which, all of them or none.
    pub machines: Vec<MachineId>,
    /// The host for their replicas; none: by room.
    #[serde(default)]
    pub target: Option<HostId>,
    /// Disks that are left out of each.
    #[serde(default)]
    pub excluded: BTreeSet<DiskKey>,
    /// How the first copy is made; none: as the policy says.
    #[serde(default)]
    pub initial: Option<InitialCopy>,
    /// What the agents found that were asked whether the machines could start there, a pair
    /// of what and advice each.
    #[serde(default)]
    pub startable: Vec<(MachineId, String, String)>,
}

impl Command {
    fn is_about_tokens(&self) -> bool {
        use Command::{AddToken, ConfirmToken, RemoveToken};
        matches!(self, AddToken { .. } | RemoveToken { .. } | ConfirmToken { .. })
    }
}

impl Core {
    /// Does what an operator orders. `key` is the idempotency key, if there is one.
    ///
    /// # Errors
    /// [`Problem`]; nothing was changed.
    pub fn run(&mut self, command: &Command, key: Option<&str>, at: &Moment) -> Result<Answer, Problem> {
        let digest = digest_of(command);
        if let Some(answer) = self.done_before(key, &digest, at)? {
            return Ok(answer);
        }
        self.atomically(|core| {
            // Who may speak to the vault concerns no host: that is settled also while it learns.
            if !command.is_about_tokens() {
                core.may_command(at)?;
            }
            let answer = core.carry_out(command, at)?;
            core.publish(at);
            core.move_jobs(at);
            if let Some(key) = key {
                let (key, kept) = (key.to_owned(), Answer { secret: None, ..answer.clone() });
                core.tables.operations.put(OperationRow { key, digest, at_ms: at.wall_ms, answer: kept });
            }
            Ok(answer)
        })
    }

    fn carry_out(&mut self, command: &Command, at: &Moment) -> Result<Answer, Problem> {
        match command {
            Command::AddSite { name, ahead_minutes } => self.add_site(name, *ahead_minutes, at),
            Command::RenameSite { site, name } => self.rename_site(*site, name),
            Command::RemoveSite { site } => self.remove_site(*site),
            Command::AddCloud { site, name } => self.add_cloud(*site, name, at),
            Command::RenameCloud { cloud, name } => self.rename_cloud(*cloud, name),
            Command::RemoveCloud { cloud } => self.remove_cloud(*cloud),
            Command::PairClouds { source, target } => self.pair_clouds(*source, *target),
            Command::UnpairCloud { cloud } => self.unpair_cloud(*cloud),
            Command::AddHost { id, cloud, name, address, principal } => {
                let id = id.unwrap_or_else(|| HostId(at.id("host")));
                self.add_host(id, *cloud, name, address, principal.as_deref())
            }
            Command::RenameHost { host, name } => self.rename_host(*host, name),
            Command::SetHostAddress { host, address, principal } => {
                self.set_host_address(*host, address, principal.as_deref())
            }
            Command::SetHostCloud { host, cloud } => self.set_host_cloud(*host, *cloud),
            Command::SetMaintenance { host, on, how } => self.set_maintenance(*host, *on, *how, at),
            Command::RemoveHost { host } => self.remove_host(*host),
            Command::ForgetHost { host, force } => self.forget_host(*host, *force, at),
            Command::ForgetSite { site, force } => self.forget_site(*site, *force, at),
            Command::MoveReplica { machine, to, delete_old } => {
                self.move_replica(*machine, *to, *delete_old, at)
            }
            Command::AskPoints { machine, by, before, application, limit } => {
                self.ask_points(*machine, *by, (*before, *application, *limit), at)
            }
            Command::DiscardReplica { host, machine, force } => {
                self.discard_replica(*host, *machine, *force, at)
            }
            Command::Forget { machine, force } => self.forget(*machine, *force, at),
            Command::AddPolicy { name, settings } => self.add_policy(name, settings, at),
            Command::RenamePolicy { policy, name } => self.rename_policy(*policy, name),
            Command::ChangePolicy { policy, settings } => self.change_policy(*policy, settings, at),
            Command::RemovePolicy { policy } => self.remove_policy(*policy),
            Command::Associate { cloud, policy } => self.associate(*cloud, *policy, at),
            Command::MapNetwork(map) => self.map_network(map),
            Command::MapStorage(map) => self.map_storage(map),
            Command::Enable(enable) => self.enable(enable, at),
            Command::SetPaused { machine, paused } => self.set_paused(*machine, *paused, at),
            Command::Resync { machine } => self.resync(*machine, at),
            Command::Operate { machine, order } => self.operate(*machine, order, at),
            Command::SetAddress { machine, card, home, away } => {
                self.set_address(*machine, card, *home, *away)
            }
            Command::CancelJob { job, by } => {
                self.cancel_job(*job, by.as_deref().unwrap_or("an operator"), at)
            }
            Command::Disable { machine, replica, force } => self.disable(*machine, *replica, *force, at),
            Command::AddToken { name, expires_ms } => self.add_token(name, *expires_ms, at),
            Command::RemoveToken { token } => self.remove_token(*token),
            Command::ConfirmToken { name } => self.confirm_token(name),
            Command::SetTrust { authority_pem, revoked_pem, revoked_number } => {
                self.set_trust(authority_pem, revoked_pem, *revoked_number)
            }
        }
    }

    fn done_before(&self, key: Option<&str>, digest: &str, at: &Moment) -> Result<Option<Answer>, Problem> {
        let Some(key) = key else { return Ok(None) };
        if key.is_empty() || key.len() > OPERATION_KEY_MAX {
            let what = format!("the idempotency key has {} bytes", key.len());
            return Err(Problem::invalid("idempotency-key", what, "use 1 to 128 bytes, such as a UUID"));
        }
        let known = self.tables.operations.get(&key.to_owned());
        let known = known.filter(|row| at.wall_ms.saturating_sub(row.at_ms) <= OPERATIONS_KEPT_MS);
        let Some(row) = known else { return Ok(None) };
        if row.digest != digest {
            let what = format!("the idempotency key '{key}' was used for another command");
            return Err(Problem::conflict("idempotency-key", what, "use another key"));
        }
        Ok(Some(row.answer.clone()))
    }

    pub(crate) fn drop_old_operations(&mut self, at: &Moment) {
        let old = |row: &&OperationRow| at.wall_ms.saturating_sub(row.at_ms) > OPERATIONS_KEPT_MS;
        for key in self.tables.operations.rows().filter(old).map(|row| row.key.clone()).collect::<Vec<_>>() {
            self.tables.operations.remove(&key);
        }
    }
}

fn digest_of(command: &Command) -> String {
    let text = serde_json::to_vec(command).unwrap_or_default();
    blake3::hash(&text).to_hex().to_string()
}

/// A name that people and files can live with, and that nothing else of its kind has.
pub(crate) fn check_name<'a>(
    what: &str,
    name: &str,
    mut taken: impl Iterator<Item = &'a str>,
) -> Result<(), Problem> {
    let plain = |c: char| c.is_alphanumeric() || " -_.@".contains(c);
    let fits = !name.is_empty() && name.len() <= NAME_MAX && name.trim() == name && name.chars().all(plain);
    if !fits {
        let wrong = format!("'{name}' cannot be the name of a {what}");
        let advice = "use 1 to 128 bytes of letters, digits, inner spaces and - _ . @";
        return Err(Problem::invalid("name", wrong, advice));
    }
    if taken.any(|other| other.eq_ignore_ascii_case(name)) {
        let taken = format!("there is a {what} named '{name}' already");
        return Err(Problem::conflict("name-taken", taken, "choose another name, or rename the other one"));
    }
    Ok(())
}

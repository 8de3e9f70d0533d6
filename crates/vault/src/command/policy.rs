//! Policies, and the clouds that they hold for.

use farshore_control::Wire;
use farshore_policy::{Invalid, Policy, PolicyPatch};
use farshore_types::{CloudId, HostId, JobId, MachineId, PolicyId};

use super::check_name;
use crate::{
    Answer, Core, Finding, Moment, Problem, Severity,
    jobs::{Associate, Change, Kind, associate},
    rows::{About, AssociationRow, CloudRow, HostRow, PolicyRow, Role},
};

impl Core {
    pub(super) fn add_policy(
        &mut self,
        name: &str,
        settings: &PolicyPatch,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        check_name("policy", name, self.tables.policies.rows().map(|row| row.name.as_str()))?;
        let policy = settings.apply(&Policy::default()).map_err(|e| not_allowed(&e))?;
        let (id, warnings) = (PolicyId(at.id("policy")), warnings_of(&policy));
        self.tables.policies.put(PolicyRow { id, name: name.to_owned(), policy });
        Ok(Answer { warnings, ..Answer::made(id.0) })
    }

    pub(super) fn rename_policy(&mut self, policy: PolicyId, name: &str) -> Result<Answer, Problem> {
        self.policy_row(policy)?;
        let others = self.tables.policies.rows().filter(|row| row.id != policy);
        check_name("policy", name, others.map(|row| row.name.as_str()))?;
        Ok(Answer::changed(self.tables.policies.change(&policy, |row| name.clone_into(&mut row.name))))
    }

    /// Protections that follow the policy take the change at once, those too that kept
    /// learned settings: whoever changes a policy has decided.
    pub(super) fn change_policy(
        &mut self,
        policy: PolicyId,
        settings: &PolicyPatch,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let new = settings.apply(&self.policy_row(policy)?.policy).map_err(|e| not_allowed(&e))?;
        let warnings = warnings_of(&new);
        let mut changed = self.tables.policies.change(&policy, |row| row.policy = new);
        for machine in self.followers(policy) {
            changed |= self.tables.protections.change(&machine, |row| row.settings = None);
        }
        // One that still waits for hosts waits for what is wanted now.
        let about = About::Policy(policy);
        let job = match self.open_job(Kind::ChangePolicy, about) {
            None if changed => {
                let name = self.policy_row(policy)?.name.clone();
                Some(self.begin_job(Kind::ChangePolicy, about, &Change { policy, name }, at)?)
            }
            open => open,
        };
        Ok(Answer { warnings, ..Answer::changed(changed) }.with_jobs(job))
    }

    pub(super) fn remove_policy(&mut self, policy: PolicyId) -> Result<Answer, Problem> {
        let name = self.policy_row(policy)?.name.clone();
        let clouds = self.tables.associations.rows().filter(|row| row.policy == policy);
        let mut users: Vec<String> =
            clouds.map(|row| format!("cloud '{}'", self.cloud_name(row.cloud))).collect();
        let follows =
            self.tables.protections.rows().filter(|row| row.is_live() && row.policy == Some(policy));
        users.extend(follows.map(|row| format!("machine '{}'", row.name)));
        if !users.is_empty() {
            return Err(Problem::in_use(format!("policy '{name}'"), &users));
        }
        Ok(Answer::changed(self.tables.policies.remove(&policy)))
    }

    /// Machines already protected follow the cloud's new policy, without a new first copy.
    pub(super) fn associate(
        &mut self,
        cloud: CloudId,
        policy: Option<PolicyId>,
        at: &Moment,
    ) -> Result<Answer, Problem> {
        let row = self.cloud_row(cloud)?.clone();
        let Some(policy) = policy else {
            return Ok(Answer::changed(self.tables.associations.remove(&cloud)));
        };
        let settings = self.policy_row(policy)?.policy.clone();
        let Some((other, Role::Source)) = row.pair else {
            let what = format!("cloud '{}' is not the source of a pair", row.name);
            return Err(Problem::refused("cloud-not-source", what, "pair it with a target cloud first"));
        };
        let known = self.tables.associations.get(&cloud).filter(|known| known.policy == policy);
        let since_ms = known.map_or(at.wall_ms, |known| known.since_ms);
        let mut changed = self.tables.associations.put(AssociationRow { cloud, policy, since_ms });
        for machine in self.protected_from(cloud) {
            changed |= self.tables.protections.change(&machine, |row| {
                (row.policy, row.settings) = (Some(policy), None);
            });
        }
        let warnings = self.unready_hosts(&row, other, &settings);
        let job = self.see_to_hosts(&row, other, policy, at)?;
        Ok(Answer { warnings, ..Answer::changed(changed) }.with_jobs([job]))
    }

    /// Begins the job that configures and checks the hosts of a pair; asked for again, they are
    /// checked anew.
    fn see_to_hosts(
        &mut self,
        cloud: &CloudRow,
        other: CloudId,
        policy: PolicyId,
        at: &Moment,
    ) -> Result<JobId, Problem> {
        let about = About::Cloud(cloud.id);
        if let Some(open) = self.open_job(Kind::Associate, about) {
            self.cancel_job(open, "a further association of the same cloud", at)?;
        }
        let policy = self.policy_row(policy)?.name.clone();
        let hosts_of = |cloud: CloudId| -> Vec<(HostId, String)> {
            let here = self.tables.hosts.rows().filter(|row| !row.removed && row.cloud == Some(cloud));
            here.map(|row| (row.id, row.name.clone())).collect()
        };
        let hosts = associate::members(&hosts_of(cloud.id), &hosts_of(other));
        let input = Associate { cloud: cloud.id, name: cloud.name.clone(), policy, hosts };
        self.begin_job(Kind::Associate, about, &input, at)
    }

    fn followers(&self, policy: PolicyId) -> Vec<MachineId> {
        let rows = self.tables.protections.rows().filter(|row| row.policy == Some(policy));
        rows.map(|row| row.machine).collect()
    }

    /// Machines of a cloud's hosts that are protected.
    fn protected_from(&self, cloud: CloudId) -> Vec<MachineId> {
        let here = |host: HostId| self.tables.hosts.get(&host).and_then(|host| host.cloud) == Some(cloud);
        let rows = self.tables.protections.rows().filter(|row| row.is_live() && here(row.source()));
        rows.map(|row| row.machine).collect()
    }

    /// Host by host, what stands against a policy on it; none of it stops the association.
    fn unready_hosts(&self, cloud: &CloudRow, other: CloudId, policy: &Policy) -> Vec<Finding> {
        let of_pair = |host: &&HostRow| host.cloud == Some(cloud.id) || host.cloud == Some(other);
        let hosts = self.tables.hosts.rows().filter(|host| !host.removed).filter(of_pair);
        let mut findings = Vec::new();
        for host in hosts {
            let mut add = |code: &str, what: String, advice: &str| {
                let (code, advice) = (code.to_owned(), advice.to_owned());
                findings.push(Finding { severity: Severity::Warning, code, machine: None, what, advice });
            };
            if self.tables.observed.get(&host.id).is_none() {
                add("host-silent", format!("host '{}' has not reported", host.name), "see to its agent");
            }
            if policy.wire == Wire::Kerberos && host.principal.is_none() {
                let what = format!("host '{}' has no Kerberos principal", host.name);
                add("no-principal", what, "give it one, or use certificates");
            }
        }
        findings
    }

    pub(super) fn policy_row(&self, policy: PolicyId) -> Result<&PolicyRow, Problem> {
        self.tables.policies.get(&policy).ok_or_else(|| Problem::unknown("policy", policy))
    }
}

fn not_allowed(invalid: &Invalid) -> Problem {
    let details = invalid.problems.iter().map(|problem| finding(Severity::Error, problem)).collect();
    let what = format!("{} of the policy's settings cannot be used", invalid.problems.len());
    Problem::invalid("policy-invalid", what, "see the details, a line a setting").with_details(details)
}

fn warnings_of(policy: &Policy) -> Vec<Finding> {
    policy.warnings().iter().map(|problem| finding(Severity::Warning, problem)).collect()
}

fn finding(severity: Severity, problem: &farshore_policy::Problem) -> Finding {
    let what = format!("{} is {}; allowed: {}", problem.setting, problem.value, problem.allowed);
    let (code, advice) = (format!("setting-{}", problem.setting.replace('_', "-")), problem.advice.clone());
    Finding { severity, code, machine: None, what, advice }
}

//! What stands against protecting machines, all of it at once, before anything changes: as
//! errors, or as warnings of what would be other than somebody may expect. This module must
//! never change a row.

mod disks;
mod placing;

use std::collections::BTreeMap;

use farshore_control::Wire;
use farshore_types::{HostId, MachineId, PolicyId};

use crate::{
    Core, Enable, Finding, Moment, Severity,
    command::ENABLE_MAX,
    rows::{HostRow, MachineRow, PolicyRow, Role},
};

/// Most milliseconds that clocks may be apart before that is said.
pub(crate) const SKEW_MS_MAX: i64 = 5_000;

/// How one machine would be protected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) machine: MachineId,
    pub(crate) name: String,
    pub(crate) source: HostId,
    pub(crate) target: HostId,
    pub(crate) policy: PolicyId,
    pub(crate) place: Option<String>,
}

/// How one replica would be moved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Move {
    pub(crate) machine: MachineId,
    pub(crate) to: HostId,
    pub(crate) place: Option<String>,
}

impl Core {
    /// Everything that stands against [`Enable`], or is worth knowing before it.
    #[must_use]
    pub fn preflight(&self, enable: &Enable, at: &Moment) -> Vec<Finding> {
        self.examine(enable, at).0
    }

    /// The same, and how each machine would be protected against which nothing stands.
    pub(crate) fn examine(&self, enable: &Enable, at: &Moment) -> (Vec<Finding>, Vec<Choice>) {
        let mut look = Look::new(self, enable, at);
        let mut choices = Vec::new();
        look.whole();
        for machine in &enable.machines {
            look.machine = Some(*machine);
            let before = look.errors();
            let choice = look.machine(*machine);
            choices.extend(choice.filter(|_| look.errors() == before));
        }
        (look.findings, choices)
    }

    /// The same for replicas that are to move to a host, or to any of their cloud.
    pub(crate) fn examine_moves(
        &self,
        moves: &[(MachineId, Option<HostId>)],
        at: &Moment,
    ) -> (Vec<Finding>, Vec<Move>) {
        let asked = |(machine, target): &(MachineId, Option<HostId>)| {
            let row = self.tables.protections.get(machine);
            let excluded = row.map(|row| row.excluded.clone()).unwrap_or_default();
            Enable { machines: vec![*machine], target: *target, excluded, ..Enable::default() }
        };
        let asked: Vec<Enable> = moves.iter().map(asked).collect();
        let (nothing, mut choices) = (Enable::default(), Vec::new());
        let mut look = Look::new(self, &nothing, at);
        look.commands();
        for enable in &asked {
            look.enable = enable;
            look.machine = enable.machines.first().copied();
            let before = look.errors();
            let choice = look.machine.and_then(|machine| look.relocation(machine));
            choices.extend(choice.filter(|_| look.errors() == before));
        }
        (look.findings, choices)
    }
}

/// One examination.
struct Look<'a> {
    core: &'a Core,
    enable: &'a Enable,
    at: &'a Moment,
    /// Bytes that each host is going to need, with what was placed on it just now.
    promised: BTreeMap<HostId, u64>,
    /// Replicas that each host has or is going to have, likewise.
    roles: BTreeMap<HostId, usize>,
    /// Where a replica is that is to move: it goes to another host of that cloud.
    leaves: Option<HostId>,
    findings: Vec<Finding>,
    /// The machine that is being looked at.
    machine: Option<MachineId>,
}

impl<'a> Look<'a> {
    fn new(core: &'a Core, enable: &'a Enable, at: &'a Moment) -> Look<'a> {
        let (promised, roles) = (core.promised(), core.roles());
        Look { core, enable, at, promised, roles, leaves: None, findings: Vec::new(), machine: None }
    }

    fn add(&mut self, severity: Severity, code: &str, what: String, advice: &str) {
        let (code, advice) = (code.to_owned(), advice.to_owned());
        self.findings.push(Finding { severity, code, machine: self.machine, what, advice });
    }

    fn error(&mut self, code: &str, what: String, advice: &str) {
        self.add(Severity::Error, code, what, advice);
    }

    fn warning(&mut self, code: &str, what: String, advice: &str) {
        self.add(Severity::Warning, code, what, advice);
    }

    fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// What stands against all of it.
    fn whole(&mut self) {
        let machines = &self.enable.machines;
        if machines.is_empty() {
            self.error("no-machines", "no machine is named".to_owned(), "name at least one");
        }
        if machines.len() > ENABLE_MAX {
            let what = format!("{} machines are named, more than {ENABLE_MAX}", machines.len());
            self.error("too-many-machines", what, "enable them in several steps");
        }
        let mut sorted = machines.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            self.error("machine-twice", format!("machine {} is named twice", twice[0]), "name each once");
        }
        self.commands();
    }

    fn commands(&mut self) {
        if let Err(problem) = self.core.may_command(self.at) {
            self.error(&problem.code, problem.what.clone(), &problem.advice.clone());
        }
    }

    fn machine(&mut self, machine: MachineId) -> Option<Choice> {
        let row = self.home(machine)?;
        let source = self.core.tables.hosts.get(&row.host)?;
        self.not_protected_yet(row);
        self.source_host(source, row);
        let policy = self.policy(source, row);
        self.disks(row);
        self.guest_state(row);
        let target = self.target(source, row);
        let (policy, target) = (policy?, target?);
        self.authentication(policy, source, target);
        self.hypervisors(source, target, row);
        self.networks(source, target, row);
        let place = self.place(source, target, row);
        self.room(target, row);
        self.former_replica(target, row);
        self.startable(machine, row);
        self.placed(target.id, row);
        let name = row.facts.name.clone();
        Some(Choice { machine, name, source: source.id, target: target.id, policy: policy.id, place })
    }

    /// What stands against moving a replica, and where it would go.
    fn relocation(&mut self, machine: MachineId) -> Option<Move> {
        let core = self.core;
        let protection = core.tables.protections.get(&machine).filter(|row| row.is_live())?;
        let source = core.tables.hosts.get(&protection.source())?;
        let Some(row) = core.tables.machines.get(&(protection.source(), machine)) else {
            let what = format!("host '{}' does not show machine '{}'", source.name, protection.name);
            self.error("machine-unknown", what, "see that it is there: the copy is made from it");
            return None;
        };
        self.leaves = Some(protection.target());
        self.source_host(source, row);
        let target = self.target(source, row)?;
        if let Some(policy) = protection.policy.and_then(|id| core.tables.policies.get(&id)) {
            self.authentication(policy, source, target);
        }
        self.hypervisors(source, target, row);
        self.networks(source, target, row);
        let place = self.place(source, target, row);
        self.room(target, row);
        self.former_replica(target, row);
        self.placed(target.id, row);
        Some(Move { machine, to: target.id, place })
    }

    /// The next machine finds less room there.
    fn placed(&mut self, target: HostId, row: &MachineRow) {
        *self.promised.entry(target).or_default() += self.size(row);
        *self.roles.entry(target).or_default() += 1;
    }

    /// The machine on the one host that has it: that which runs it, whatever was brought up where
    /// by a protection of before; where none runs it, that which owns it.
    fn home(&mut self, machine: MachineId) -> Option<&'a MachineRow> {
        let core = self.core;
        let on: Vec<&MachineRow> =
            core.tables.machines.rows().filter(|row| row.facts.id == machine).collect();
        let owner = core.tables.epochs.get(&machine).map(|row| row.owner);
        let those = |is: &dyn Fn(&MachineRow) -> bool| {
            let those: Vec<&MachineRow> = on.iter().copied().filter(|row| is(row)).collect();
            Some(those).filter(|those| !those.is_empty())
        };
        let homes = those(&|row| row.facts.power != "off")
            .or_else(|| those(&|row| Some(row.host) == owner))
            .or_else(|| those(&|row| row.facts.brought_up_at.is_none()))
            .unwrap_or_default();
        match homes.as_slice() {
            [home] => Some(*home),
            [] => {
                let what = format!("no host shows machine {machine}");
                self.error("machine-unknown", what, "see that it is defined and its host's agent reports");
                None
            }
            [first, second, ..] => {
                let hosts = [first, second].map(|row| core.host_name(row.host));
                let what = format!("hosts '{}' and '{}' both have machine {machine}", hosts[0], hosts[1]);
                self.error("machine-on-two-hosts", what, "one UUID, one machine: give the copy another UUID");
                None
            }
        }
    }

    fn not_protected_yet(&mut self, row: &MachineRow) {
        let (core, machine) = (self.core, row.facts.id);
        if core.tables.protections.get(&machine).is_some_and(crate::rows::ProtectionRow::is_live) {
            let what = format!("machine '{}' is protected already", row.facts.name);
            self.error("protected-already", what, "leave it out, or disable it first");
        }
        if core.tables.epochs.get(&machine).is_some_and(|row| row.conflict.is_some()) {
            let what = format!("two hosts own machine '{}' by the same epoch", row.facts.name);
            self.error("epoch-conflict", what, "declare which of them is the winner");
        }
    }

    fn source_host(&mut self, host: &HostRow, row: &MachineRow) {
        let name = &row.facts.name;
        if host.maintenance {
            let what = format!("host '{}' of machine '{name}' is in maintenance", host.name);
            self.warning("source-maintenance", what, "replication begins when that ends");
        }
        self.reachable(host);
    }

    /// What is known of a host's being there.
    fn reachable(&mut self, host: &HostRow) {
        let core = self.core;
        if !core.may_speak_to(host.id) {
            let what = format!("host '{}' has not told this vault what it holds", host.name);
            self.error("host-silent", what, "see to its agent");
            return;
        }
        let Some(observed) = core.tables.observed.get(&host.id) else {
            let what = format!("host '{}' has not reported since the vault started", host.name);
            self.warning("host-silent", what, "see to its agent");
            return;
        };
        if core.is_gone(host.id, self.at) {
            let what = format!("host '{}' has been silent for minutes", host.name);
            self.warning("host-silent", what, "see to its agent, or name another host");
        }
        if observed.skew_ms.abs() > SKEW_MS_MAX {
            let what = format!("the clock of host '{}' is {} ms off", host.name, observed.skew_ms);
            self.warning("clock-skew", what, "set up time synchronisation");
        }
    }

    fn policy(&mut self, host: &HostRow, row: &MachineRow) -> Option<&'a PolicyRow> {
        let (core, name) = (self.core, &row.facts.name);
        let Some(cloud) = host.cloud.and_then(|cloud| core.tables.clouds.get(&cloud)) else {
            let what = format!("host '{}' of machine '{name}' is in no cloud", host.name);
            self.error("no-cloud", what, "put the host into a cloud");
            return None;
        };
        let Some((other, role)) = cloud.pair else {
            let what = format!("cloud '{}' of machine '{name}' is not paired", cloud.name);
            self.error("cloud-not-paired", what, "pair it with a cloud of the other site");
            return None;
        };
        // What runs in the target cloud, as a machine that stayed after a failover, is protected the
        // other way by the same policy.
        let policy = match role {
            Role::Source => core.policy_of(cloud.id),
            Role::Target => core.policy_of(cloud.id).or_else(|| core.policy_of(other)),
        };
        if policy.is_none() {
            let what = format!("no policy holds for cloud '{}' of machine '{name}'", cloud.name);
            self.error("no-policy", what, "associate one with it");
        }
        policy
    }

    fn authentication(&mut self, policy: &PolicyRow, source: &HostRow, target: &HostRow) {
        for host in [source, target] {
            if policy.policy.wire == Wire::Kerberos && host.principal.is_none() {
                let what =
                    format!("policy '{}' uses Kerberos, host '{}' has no principal", policy.name, host.name);
                self.error("no-principal", what, "give the host one, or use certificates");
            }
        }
    }

    /// What the target's agent said about starting the machine there.
    fn startable(&mut self, machine: MachineId, row: &MachineRow) {
        let enable = self.enable;
        for (_, what, advice) in enable.startable.iter().filter(|(about, ..)| *about == machine) {
            let what = format!("machine '{}' could not start at the target: {what}", row.facts.name);
            self.error("not-startable", what, advice);
        }
    }
}

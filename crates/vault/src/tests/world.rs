//! A small world around a core.

use std::collections::BTreeMap;

use farshore_control::{
    Body, Document, HostReport, Key, Verdict,
    report::{DiskFacts, MachineFacts, ReportReply},
    sync::{Cursor, Poll, SiteReport},
};
use farshore_policy::PolicyPatch;
use farshore_types::{CloudId, HostId, MachineId, PolicyId, SiteId};
use uuid::Uuid;

use super::{
    agent::Agent,
    strikes::{Kill, Strike},
};
use crate::{Answer, Bug, Command, Core, Enable, Moment, Problem, Start};

pub(super) const GIB: u64 = 1 << 30;

pub(super) type Stored = BTreeMap<(String, String), Vec<u8>>;

pub(super) fn machine(n: u128) -> MachineFacts {
    let disk = DiskFacts {
        key: "vda".parse().unwrap(),
        size: 20 * GIB,
        allocated: None,
        format: "qcow2".to_owned(),
        storage: None,
        tracking: "bitmap".to_owned(),
        why: None,
    };
    MachineFacts {
        id: MachineId(Uuid::from_u128(n)),
        name: format!("m{n}"),
        power: "running".to_owned(),
        disks: vec![disk],
        networks: vec![Some("lan".to_owned())],
        cards: Vec::new(),
        brought_up_at: None,
        tpm: false,
    }
}

pub(super) fn id(n: u128) -> MachineId {
    MachineId(Uuid::from_u128(n))
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) core: Core,
    pub(super) stored: Stored,
    pub(super) agents: BTreeMap<HostId, Agent>,
    pub(super) sites: Vec<SiteId>,
    pub(super) clouds: Vec<CloudId>,
    pub(super) hosts: Vec<HostId>,
    pub(super) policy: PolicyId,
    pub(super) cursors: BTreeMap<SiteId, Cursor>,
    pub(super) clock: u64,
    /// Who is killed when a job comes to a step.
    pub(super) kill: Option<Kill>,
    /// A mistake that the vault makes from its next start on.
    pub(super) bug: Option<Bug>,
    /// Hosts that nobody reaches, until they are back.
    pub(super) lost: Vec<usize>,
}

impl World {
    /// Two sites, a pair of clouds, four hosts, a policy, and three machines on the first
    /// two hosts; everybody has reported.
    pub(super) fn new() -> World {
        let core = Core::init(&moment(0));
        let mut world = World {
            core,
            stored: Stored::new(),
            agents: BTreeMap::new(),
            sites: Vec::new(),
            clouds: Vec::new(),
            hosts: Vec::new(),
            policy: PolicyId(Uuid::nil()),
            cursors: BTreeMap::new(),
            clock: 0,
            kill: None,
            bug: None,
            lost: Vec::new(),
        };
        world.commit();
        for name in ["near", "far"] {
            let made = world.run(&Command::AddSite { name: name.to_owned(), ahead_minutes: 0 }).id.unwrap();
            world.sites.push(SiteId(made));
            let command = Command::AddCloud { site: SiteId(made), name: format!("{name} cloud") };
            let cloud = CloudId(world.run(&command).id.unwrap());
            world.clouds.push(cloud);
        }
        for (at, name) in [(0, "n1"), (0, "n2"), (1, "f1"), (1, "f2")] {
            world.add_host(at, name);
        }
        let (source, target) = (world.clouds[0], world.clouds[1]);
        world.run(&Command::PairClouds { source, target });
        let command = Command::AddPolicy { name: "gold".to_owned(), settings: PolicyPatch::default() };
        world.policy = PolicyId(world.run(&command).id.unwrap());
        let associated = world.run(&Command::Associate { cloud: source, policy: Some(world.policy) });
        // Hosts are looked at in tests of their own.
        world.run(&Command::CancelJob { job: associated.jobs[0], by: None });
        for (host, numbers) in [(0, [1, 3].as_slice()), (1, [2].as_slice())] {
            let machines = numbers.iter().map(|n| machine(*n)).collect();
            world.agent(host).machines = machines;
        }
        world.all_report();
        world
    }

    pub(super) fn add_host(&mut self, cloud: usize, name: &str) -> HostId {
        let host = HostId(Uuid::from_u128(0x1000 + self.hosts.len() as u128));
        let (cloud, site) = (self.clouds[cloud], self.sites[cloud]);
        let (name, address) = (name.to_owned(), format!("{name}:7411"));
        self.run(&Command::AddHost { id: Some(host), cloud, name, address, principal: None });
        self.agents.insert(host, Agent::new(host, site));
        self.hosts.push(host);
        host
    }

    pub(super) fn agent(&mut self, at: usize) -> &mut Agent {
        self.agents.get_mut(&self.hosts[at]).unwrap()
    }

    pub(super) fn moment(&mut self) -> Moment {
        self.clock += 1;
        moment(self.clock)
    }

    /// Stores the open transaction, unless somebody is killed in it; whether it was stored.
    pub(super) fn commit(&mut self) -> bool {
        let strike = self.kill.as_mut().map_or(Strike::Nobody, |kill| kill.strike(&self.core, &self.stored));
        if strike != Strike::BeforeStored {
            self.store();
        }
        self.struck(strike)
    }

    fn store(&mut self) {
        for change in self.core.changes() {
            let key = (change.kind.to_owned(), change.key);
            match change.body {
                Some(body) => drop(self.stored.insert(key, body)),
                None => drop(self.stored.remove(&key)),
            }
        }
        self.core.commit();
    }

    pub(super) fn try_run(&mut self, command: &Command) -> Result<Answer, Problem> {
        let at = self.moment();
        let answer = self.core.run(command, None, &at)?;
        self.commit();
        Ok(answer)
    }

    /// As an operator does it, who sends an order again until it is answered.
    pub(super) fn insist(&mut self, command: &Command) -> Answer {
        for _ in 0..20 {
            let at = self.moment();
            if let Ok(answer) = self.core.run(command, Some("once"), &at)
                && self.commit()
            {
                return answer;
            }
            self.all_report();
        }
        panic!("{command:?} is never answered");
    }

    /// Agents do what they are told from now on.
    pub(super) fn live(&mut self) {
        for agent in self.agents.values_mut() {
            (agent.obeys, agent.replicates, agent.lives) = (true, true, true);
        }
    }

    /// Everything that is under way arrives once; hosts in `away` are not reached.
    pub(super) fn round_without(&mut self, away: &[usize]) {
        let away: Vec<HostId> = away.iter().map(|at| self.hosts[*at]).collect();
        let gone: Vec<Agent> = away.iter().filter_map(|host| self.agents.remove(host)).collect();
        self.deliver_all();
        self.agents.values_mut().for_each(Agent::work);
        self.hands_work();
        self.all_report();
        self.tick();
        if !gone.is_empty() {
            // Who was away asks for everything when it is back.
            self.cursors.clear();
        }
        self.agents.extend(gone.into_iter().map(|agent| (agent.host, agent)));
    }

    pub(super) fn round(&mut self) {
        self.round_without(&self.lost.clone());
    }

    pub(super) fn run(&mut self, command: &Command) -> Answer {
        self.try_run(command).unwrap_or_else(|problem| panic!("{command:?}: {problem:?}"))
    }

    pub(super) fn enable(&mut self, n: u128) -> Answer {
        self.run(&Command::Enable(Enable { machines: vec![id(n)], ..Enable::default() }))
    }

    /// Everybody reports what it has, and is asked for more where more is wanted.
    pub(super) fn all_report(&mut self) {
        for (at, host) in self.hosts.clone().into_iter().enumerate() {
            if !self.lost.contains(&at) {
                self.report(host);
            }
        }
    }

    /// A host reports, and again in full where that is wanted.
    pub(super) fn report(&mut self, host: HostId) -> ReportReply {
        let reply = self.report_once(host, false);
        if reply.wants_inventory || reply.wants_documents { self.report_once(host, true) } else { reply }
    }

    pub(super) fn report_once(&mut self, host: HostId, whole: bool) -> ReportReply {
        let Some(agent) = self.agents.get_mut(&host) else { return ReportReply::default() };
        let report = SiteReport {
            site: agent.site,
            version: "0.1.0".to_owned(),
            clock_ms: 0,
            transit_ms: 1,
            problems: Vec::new(),
            hosts: vec![(0, HostReport { clock_ms: moment(self.clock + 1).wall_ms, ..agent.report(whole) })],
        };
        let at = self.moment();
        let reply = self.core.site_report(&report, &at).unwrap();
        if !self.commit() {
            return ReportReply::default();
        }
        let reply = reply.hosts.into_iter().next().map(|(_, reply)| reply).unwrap_or_default();
        let agent = self.agents.get_mut(&host).unwrap();
        agent.outcomes.retain(|outcome| !reply.acknowledged.contains(&outcome.id));
        reply
    }

    /// A site's documents since its cursor are given to its hosts; what each made of each.
    pub(super) fn deliver(&mut self, site: usize) -> Vec<(HostId, Document, Verdict)> {
        let site = self.sites[site];
        let mut verdicts = Vec::new();
        loop {
            let poll = Poll { cursor: self.cursors.get(&site).copied(), term: None, wait_secs: 0 };
            let Ok(documents) = self.core.poll(site, &poll, 0) else { return verdicts };
            self.cursors.insert(site, documents.cursor);
            for document in &documents.documents {
                for host in &document.hosts {
                    let Some(agent) = self.agents.get_mut(host).filter(|agent| agent.site == site) else {
                        continue;
                    };
                    verdicts.push((*host, document.clone(), agent.take(document)));
                }
            }
            if !documents.more {
                return verdicts;
            }
        }
    }

    pub(super) fn deliver_all(&mut self) {
        for site in 0..self.sites.len() {
            self.deliver(site);
        }
    }

    /// The vault is killed and comes back with these rows.
    pub(super) fn start(&mut self, rows: Stored, start: Start) {
        self.stored = rows;
        let at = self.moment();
        let given =
            self.stored.iter().map(|((kind, key), body)| (kind.as_str(), key.as_str(), body.as_slice()));
        self.core = Core::load(given, start, &at).unwrap();
        if let Some(bug) = self.bug {
            self.core = self.core.clone().with_bug(bug);
        }
        self.commit();
    }

    pub(super) fn tick(&mut self) {
        let at = self.moment();
        self.core.tick(&at);
        self.commit();
    }

    /// Time passes; nothing happens where none does.
    pub(super) fn pass(&mut self, ms: u64) {
        if ms > 0 {
            self.wait(ms);
        }
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.clock += ms / 1000;
        self.tick();
    }

    /// What a host holds of a machine.
    pub(super) fn held(&self, host: usize, n: u128) -> Option<&Body> {
        let agent = &self.agents[&self.hosts[host]];
        agent.holder.get(&Key::Protection(id(n))).map(|document| &document.body)
    }

    /// The protection that a host holds of a machine.
    pub(super) fn protection(&self, host: usize, n: u128) -> &farshore_control::Protection {
        match self.held(host, n) {
            Some(Body::Protection(body)) => body,
            other => panic!("host {host} holds {other:?} of machine {n}"),
        }
    }
}

pub(super) fn moment(n: u64) -> Moment {
    let random = *blake3::hash(&n.to_le_bytes()).as_bytes();
    Moment { wall_ms: 1_700_000_000_000 + n * 1000, mono_ms: 50_000 + n * 1000, random }
}

//! A small world around a core.

use std::collections::{BTreeMap, BTreeSet};

use farshore_control::{
    Body, Document, Holder, HostReport, Inventory, Key, Verdict,
    ownership::Lineage,
    report::{DiskFacts, HostFacts, MachineFacts, ReportReply, Space, StorageClass},
    request::{self, Action, Ending, Outcome, Request},
    sync::{Cursor, Poll, SiteReport},
};
use farshore_policy::PolicyPatch;
use farshore_types::{CloudId, Epoch, HostId, MachineId, PolicyId, RequestId, SiteId};
use uuid::Uuid;

use crate::{Answer, Command, Core, Enable, Moment, Problem, Start};

pub(super) const GIB: u64 = 1 << 30;

pub(super) type Stored = BTreeMap<(String, String), Vec<u8>>;

/// What an agent keeps and says.
#[derive(Clone)]
pub(super) struct Agent {
    pub(super) host: HostId,
    pub(super) site: SiteId,
    pub(super) holder: Holder,
    pub(super) lineages: BTreeMap<MachineId, Lineage>,
    pub(super) machines: Vec<MachineFacts>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) free: u64,
    /// Whether it carries requests out; else a test does.
    pub(super) obeys: bool,
    /// Replicas that it has deleted, with what it held of their protection then.
    pub(super) deleted: Vec<(MachineId, Option<Body>)>,
    done: BTreeSet<RequestId>,
    sequence: u64,
}

impl Agent {
    fn new(host: HostId, site: SiteId) -> Agent {
        Agent {
            host,
            site,
            holder: Holder::default(),
            lineages: BTreeMap::new(),
            machines: Vec::new(),
            outcomes: Vec::new(),
            free: 500 * GIB,
            obeys: false,
            deleted: Vec::new(),
            done: BTreeSet::new(),
            sequence: 0,
        }
    }

    pub(super) fn report(&mut self, whole: bool) -> HostReport {
        self.sequence += 1;
        let inventory = Inventory {
            host: HostFacts {
                arch: "x86_64".to_owned(),
                hypervisor_version: "10.0.2".to_owned(),
                ..Default::default()
            },
            machines: self.machines.clone(),
            networks: vec!["lan".to_owned(), "far".to_owned()],
            storage: vec![StorageClass {
                name: "ssd".to_owned(),
                path: "/srv/ssd".to_owned(),
                default: true,
            }],
        };
        let text = serde_json::to_vec(&inventory).unwrap();
        HostReport {
            host: self.host,
            run: Uuid::from_u128(1),
            sequence: self.sequence,
            agent_version: "0.1.0".to_owned(),
            clock_ms: 0,
            transit_ms: 1,
            certificate_until_ms: 0,
            inventory_digest: blake3::hash(&text).to_hex().to_string(),
            inventory: whole.then_some(inventory),
            space: vec![Space {
                path: "/r".to_owned(),
                of: "replicas".to_owned(),
                free: self.free,
                total: self.free,
            }],
            sources: Vec::new(),
            replicas: Vec::new(),
            lineages: self.lineages.values().cloned().collect(),
            holds: self.holder.versions(),
            documents: if whole { self.holder.documents().cloned().collect() } else { Vec::new() },
            unclaimed: Vec::new(),
            outcomes: self.outcomes.clone(),
            problems: Vec::new(),
        }
    }

    /// Takes a document as an agent does.
    pub(super) fn take(&mut self, document: &Document) -> Verdict {
        let machine = match document.key {
            Key::Protection(machine) => Some(machine),
            _ => None,
        };
        let known = machine.and_then(|machine| self.lineages.get(&machine)).map(|lineage| lineage.epoch);
        let verdict = self.holder.take(document, known.as_ref());
        if let (Verdict::Taken, Body::Protection(body)) = (&verdict, &document.body) {
            let (epoch, owner) = (body.epoch, body.source.host);
            let lineage = || Lineage::new(body.machine, epoch, owner);
            self.lineages.entry(body.machine).or_insert_with(lineage).hear(&epoch, owner);
        }
        if let (Verdict::Taken, Body::Request(request), true) = (&verdict, &document.body, self.obeys) {
            self.carry_out(request);
        }
        verdict
    }

    /// Each request once; a replica only while it is of the epoch that was named.
    fn carry_out(&mut self, request: &Request) {
        if let (true, Action::DeleteReplica { machine, epoch }) =
            (self.done.insert(request.id), &request.action)
        {
            let held = self.holder.get(&Key::Protection(*machine)).map(|document| document.body.clone());
            let same = self.lineages.get(machine).is_some_and(|lineage| lineage.epoch == *epoch);
            if same {
                self.deleted.push((*machine, held));
            }
        }
        let result = Ending::Done { answer: request::Answer::Done };
        self.outcomes.push(Outcome { id: request.id, host: self.host, result });
    }

    /// A person on the host takes the machine over (R1).
    pub(super) fn break_glass(&mut self, machine: MachineId, token: u128) {
        let known = self.lineages.get(&machine).map_or(0, |lineage| lineage.epoch.number);
        let epoch = Epoch { number: known + 1, token };
        let host = self.host;
        self.lineages.entry(machine).or_insert_with(|| Lineage::new(machine, epoch, host)).hear(&epoch, host);
    }
}

pub(super) fn machine(n: u128) -> MachineFacts {
    let disk = DiskFacts {
        key: "vda".parse().unwrap(),
        size: 20 * GIB,
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
        brought_up_at: None,
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
    cursors: BTreeMap<SiteId, Cursor>,
    pub(super) clock: u64,
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

    /// Stores the open transaction.
    pub(super) fn commit(&mut self) {
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

    pub(super) fn run(&mut self, command: &Command) -> Answer {
        self.try_run(command).unwrap_or_else(|problem| panic!("{command:?}: {problem:?}"))
    }

    pub(super) fn enable(&mut self, n: u128) -> Answer {
        self.run(&Command::Enable(Enable { machines: vec![id(n)], ..Enable::default() }))
    }

    /// Everybody reports what it has, and is asked for more where more is wanted.
    pub(super) fn all_report(&mut self) {
        for host in self.hosts.clone() {
            self.report(host);
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
            hosts: vec![(0, HostReport { clock_ms: moment(self.clock + 1).wall_ms, ..agent.report(whole) })],
        };
        let at = self.moment();
        let reply = self.core.site_report(&report, &at).unwrap();
        self.commit();
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
        self.commit();
    }

    pub(super) fn tick(&mut self) {
        let at = self.moment();
        self.core.tick(&at);
        self.commit();
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

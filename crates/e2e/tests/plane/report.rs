//! A host's report: everything that there is, whole, as the shipped agent makes it.

use farshore_control::{
    HostReport, Inventory,
    report::{
        CycleTotals, DiskFacts, HostFacts, MachineFacts, ReplicaPhase, ReplicaState, SourceState, Space,
    },
};

use super::{
    host::{Host, Run, host_of, site_of},
    world::{Message, Ms, Node, SECOND, Timer, World},
};

const GIB: u64 = 1 << 30;

impl World {
    pub(crate) fn report_in(&mut self, n: usize, ms: Ms) {
        let number = self.number();
        let Some(run) = self.hosts[n].run.as_mut() else { return };
        run.report_due = number;
        self.after(ms, Node::Host(n), Timer::Report(number));
    }

    pub(crate) fn tell(&mut self, n: usize) {
        let (call, now) = (self.number(), self.now);
        let host = &mut self.hosts[n];
        let Some(mut run) = host.run.take() else { return };
        if run.report.0 != 0 {
            host.run = Some(run);
            return;
        }
        run.sequence += 1;
        let report = make(n, host, &mut run, now);
        run.told =
            (report.inventory_digest.clone(), report.inventory.is_some(), !report.documents.is_empty());
        run.report = (call, now);
        host.run = Some(run);
        self.send(Node::Host(n), Node::Site(site_of(n)), call, Message::Report(Box::new(report)));
        self.after(15 * SECOND, Node::Host(n), Timer::ReportGivenUp(call));
    }
}

fn make(n: usize, host: &mut Host, run: &mut Run, now: Ms) -> HostReport {
    let clocks = (host.clock.wall(now), host.clock.mono(now));
    let inventory = inventory(host);
    let ledger = &run.ledger;
    let digest = blake3::hash(&serde_json::to_vec(&inventory.machines).unwrap()).to_hex().to_string();
    let known = run.contact.told_inventory.as_ref() == Some(&digest);
    let records = &host.disk.records;
    let sources = run.rooms.iter_mut().map(|(machine, room)| SourceState {
        machine: *machine,
        epoch: match &room.role {
            farshore_agent::managed::decisions::Role::Run(wanted) => wanted.epoch,
            farshore_agent::managed::decisions::Role::Rest(epoch, _) => *epoch,
        },
        phase: room.phase.clone(),
        newest: records.get(machine).map(|record| room.aged.of(record.last, record.wall_ms, 0, clocks)),
        totals: CycleTotals::default(),
        last_cycle: None,
        pending: 0,
        resynced: 0,
        notes: Vec::new(),
        apps: None,
    });
    let replicas = host.disk.replicas.iter_mut().map(|(machine, replica)| ReplicaState {
        machine: *machine,
        name: String::new(),
        epoch: replica.epoch,
        phase: match replica.points.last() {
            Some(point) if !replica.receiving => ReplicaPhase::BroughtUp { point: point.id },
            _ => ReplicaPhase::Receiving,
        },
        newest: replica.points.last().map(|point| replica.aged.of_other(point.id, point.wall_ms, 0, clocks)),
        consistency: None,
        oldest: None,
        points: replica.points.len() as u64,
        stored: GIB,
        faults: Vec::new(),
        own_writes: Vec::new(),
        newest_application: None,
    });
    HostReport {
        urgent: false,
        host: host_of(n),
        run: run.id,
        sequence: run.sequence,
        agent_version: String::new(),
        clock_ms: clocks.0,
        transit_ms: u64::try_from(run.contact.transit.as_millis()).unwrap(),
        certificate_until_ms: 0,
        inventory_digest: digest,
        inventory: (!known).then_some(inventory),
        space: vec![space()],
        sources: sources.collect(),
        replicas: replicas.collect(),
        lineages: ledger.lineages().cloned().collect(),
        standings: Vec::new(),
        holds: ledger.holder().versions(),
        documents: if run.contact.wants_documents {
            ledger.holder().documents().cloned().collect()
        } else {
            Vec::new()
        },
        unclaimed: Vec::new(),
        outcomes: ledger.outcomes().cloned().collect(),
        problems: Vec::new(),
    }
}

fn space() -> Space {
    Space { path: "/r".to_owned(), of: "replicas".to_owned(), free: 900 * GIB, total: 999 * GIB }
}

fn inventory(host: &Host) -> Inventory {
    let machines = host.disk.guests.iter().map(|(machine, guest)| MachineFacts {
        id: *machine,
        name: format!("m{}", machine.0.as_u128()),
        power: if guest.running { "running" } else { "off" }.to_owned(),
        disks: vec![DiskFacts {
            key: "vda".parse().unwrap(),
            size: 20 * GIB,
            allocated: None,
            format: "qcow2".to_owned(),
            storage: None,
            tracking: "bitmap".to_owned(),
            why: None,
        }],
        networks: Vec::new(),
        cards: Vec::new(),
        brought_up_at: guest.brought_up,
        tpm: false,
    });
    Inventory {
        host: HostFacts { arch: "x86_64".to_owned(), ..HostFacts::default() },
        machines: machines.collect(),
        networks: Vec::new(),
        storage: Vec::new(),
    }
}

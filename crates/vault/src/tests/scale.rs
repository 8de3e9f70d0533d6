//! The size that is promised: 5,000 protected machines on 200 hosts. Run by hand, in release:
//! `cargo nextest run -p farshore-vault --release --run-ignored all -E 'test(scale)'
//! --no-capture`. Times are of one core.

use std::time::{Duration, Instant};

use farshore_control::{
    report::{CycleTotals, SourcePhase, SourceState},
    sync::{Poll, SiteReport},
};
use farshore_policy::{Change, PolicyPatch};
use farshore_types::MachineId;
use uuid::Uuid;

use super::world::{World, machine};
use crate::{Command, Enable};

const HOSTS_A_SIDE: usize = 100;
const MACHINES: u128 = 5_000;

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let done = work();
    let took = begun.elapsed();
    println!("{what}: {took:?}");
    (done, took)
}

/// A world of the promised size, everything enabled and known.
fn large() -> World {
    let mut world = World::new();
    for n in 2..HOSTS_A_SIDE {
        world.add_host(0, &format!("near-{n}"));
        world.add_host(1, &format!("far-{n}"));
    }
    let near: Vec<usize> = (0..world.hosts.len()).filter(|at| world.is_near(*at)).collect();
    for n in 10..10 + MACHINES {
        let at = near[usize::try_from(n).unwrap() % near.len()];
        world.agent(at).machines.push(machine(n));
    }
    for host in world.hosts.clone() {
        world.agents.get_mut(&host).unwrap().free = 1 << 50;
    }
    timed("inventories of 200 hosts", || world.all_report());
    let machines: Vec<MachineId> = (10..10 + MACHINES).map(|n| MachineId(Uuid::from_u128(n))).collect();
    timed("enabling 5,000 machines", || {
        for some in machines.chunks(1000) {
            world.run(&Command::Enable(Enable { machines: some.to_vec(), ..Enable::default() }));
        }
    });
    timed("delivering all documents", || world.deliver_all());
    world.all_report();
    world
}

impl World {
    fn is_near(&self, at: usize) -> bool {
        self.agents[&self.hosts[at]].site == self.sites[0]
    }

    /// What a site server says of all its hosts, as they report while cycles run.
    fn report_of(&mut self, site: usize) -> SiteReport {
        let site = self.sites[site];
        let epoch = self.core.epochs().next().unwrap().epoch;
        let agents = self.agents.values_mut().filter(|agent| agent.site == site);
        let hosts = agents.map(|agent| {
            let mut report = agent.report(false);
            let sources = agent.machines.iter().map(|facts| SourceState {
                machine: facts.id,
                epoch,
                phase: SourcePhase::Replicating,
                newest: None,
                totals: CycleTotals::default(),
                last_cycle: None,
                pending: 0,
                resynced: 0,
                notes: Vec::new(),
                apps: None,
            });
            report.sources = sources.collect();
            (0, report)
        });
        SiteReport {
            site,
            version: String::new(),
            clock_ms: 0,
            transit_ms: 0,
            problems: Vec::new(),
            hosts: hosts.collect(),
        }
    }
}

#[test]
#[ignore = "measures; run by hand in release"]
fn scale_of_what_is_promised() {
    let mut world = large();
    for round in 0..3 {
        for site in 0..2 {
            let report = world.report_of(site);
            let at = world.moment();
            let what = format!("round {round}, a report of all hosts of site {site}");
            let (_, took) = timed(&what, || world.core.site_report(&report, &at).unwrap());
            assert!(world.core.changes().is_empty());
            world.core.commit();
            assert!(took < Duration::from_millis(100));
        }
    }
    let poll = world.core.poll(world.sites[0], &Poll { cursor: None, term: None, wait_secs: 0 }, 0).unwrap();
    let idle = Poll {
        cursor: Some(farshore_control::sync::Cursor { sequence: world.core.sequence(), ..poll.cursor }),
        term: None,
        wait_secs: 0,
    };
    let site = world.sites[0];
    timed("a poll with nothing new", || world.core.poll(site, &idle, 0).unwrap());
    timed("a poll with everything new", || {
        world.core.poll(site, &Poll { cursor: None, term: None, wait_secs: 0 }, 0).unwrap()
    });
    let at = world.moment();
    timed("a tick", || world.core.tick(&at));
    let settings = PolicyPatch { copy_frequency_secs: Change::Set(60), ..PolicyPatch::default() };
    let (policy, at) = (world.policy, world.moment());
    let (_, took) = timed("a policy change for 5,000 machines", || {
        world.core.run(&Command::ChangePolicy { policy, settings }, None, &at).unwrap()
    });
    assert!(took < Duration::from_millis(1000));
    let (changes, _) = timed("what it writes", || world.core.changes());
    println!(
        "{} rows, {} bytes",
        changes.len(),
        changes.iter().filter_map(|c| c.body.as_ref()).map(Vec::len).sum::<usize>()
    );
    world.core.roll_back();
}

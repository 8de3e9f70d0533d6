//! Much at once: what follows of it never is more than a store takes in one transaction.

use farshore_control::sync::SiteReport;

use super::world::{World, id, machine};
use crate::{Command, Enable};

const MACHINES_A_HOST: u128 = 700;
/// Most changes that a store takes at once.
const STORE_MAX: usize = 20_000;

#[test]
fn what_many_hosts_answer_at_once_is_heard_in_parts_that_a_store_takes() {
    let mut world = World::new();
    for name in ["n3", "n4"] {
        world.add_host(0, name);
    }
    world.live();
    let near = [0, 1, 4, 5];
    let machines = |at: usize| {
        let first = 100 + at as u128 * MACHINES_A_HOST;
        first..first + MACHINES_A_HOST
    };
    for at in near {
        world.agent(at).machines.extend(machines(at).map(machine));
    }
    world.agents.values_mut().for_each(|agent| agent.free = 1 << 50);
    world.all_report();
    for at in near {
        let machines = machines(at).map(id).collect();
        world.run(&Command::Enable(Enable { machines, ..Enable::default() }));
    }
    // Every host of the first site answers hundreds of questions with its next report.
    world.deliver(0);
    let hosts = near.map(|at| (0, world.agent(at).report(false))).into();
    let (version, problems) = (String::new(), Vec::new());
    let report = SiteReport { site: world.sites[0], version, clock_ms: 0, transit_ms: 0, problems, hosts };
    for heard in [3, 4] {
        let at = world.moment();
        let reply = world.core.site_report(&report, &at).unwrap();
        assert_eq!(reply.hosts.len(), heard, "the rest is told of again");
        assert!(world.core.changes().len() <= STORE_MAX);
        world.commit();
    }
    for _ in 0..8 {
        world.round();
    }
    assert!(world.core.jobs().all(|row| !row.is_open()), "and nothing is left over");
}

//! One identity that runs on two hosts at once: neither is replicated, and it is told.

use farshore_protection::Operation;

use super::{
    failover::protected,
    world::{World, id, machine},
};
use crate::Start;

/// The name of the other host, as the source's document tells it.
fn held_back(world: &World) -> Option<&str> {
    world.protection(0, 1).twin.as_deref()
}

fn told(world: &mut World) -> Option<String> {
    let at = world.moment();
    let health = world.core.judge(world.core.protection(id(1)).unwrap(), &at).health;
    health.reasons.into_iter().find(|reason| reason.code == "runs-twice").map(|reason| reason.what)
}

/// Another host of the source's cloud runs a machine of that identity.
fn doubled() -> World {
    let mut world = protected();
    world.agent(1).machines.push(machine(1));
    world
}

#[test]
fn neither_is_replicated_nor_moved_until_only_one_runs() {
    let mut world = doubled();
    world.rounds(5);
    assert_eq!(held_back(&world), Some("n2"));
    let what = told(&mut world).unwrap();
    assert!(what.contains("'n1' and 'n2'"), "{what}");
    let refused = world.refused(Operation::PlannedFailover);
    assert!(refused.code == "source-not-ready" && refused.what.contains("'n2'"), "{refused:?}");
    // A vault that starts again has not seen it, and lets nothing go for that.
    world.start(world.stored.clone(), Start::Continued);
    world.rounds(1);
    assert_eq!(held_back(&world), Some("n2"));
    world.agent(1).machines.iter_mut().for_each(|facts| facts.power = "off".to_owned());
    world.rounds(2);
    assert_eq!(told(&mut world), None);
    assert_eq!(held_back(&world), None);
}

#[test]
fn neither_is_it_where_more_than_two_run() {
    let mut world = doubled();
    let third = 5 - world.target();
    world.agent(third).machines.push(machine(1));
    world.rounds(5);
    assert!(held_back(&world).is_some() && told(&mut world).is_some());
}

#[test]
fn a_machine_that_is_being_migrated_is_no_twin() {
    let mut world = doubled();
    let [from, to] = [world.hosts[0], world.hosts[1]];
    world.report(to);
    world.tick();
    assert_eq!(world.core.protection(id(1)).unwrap().twin, None);
    world.agent(0).machines.retain(|facts| facts.id != id(1));
    world.report(from);
    world.rounds(5);
    let row = world.core.protection(id(1)).unwrap();
    assert_eq!((row.source(), row.twin), (to, None), "it is followed");
}

#[test]
fn a_host_that_is_not_heard_of_any_more_holds_nothing_back() {
    let mut world = doubled();
    world.rounds(5);
    assert_eq!(held_back(&world), Some("n2"));
    for _ in 0..60 {
        world.round_without(&[1]);
    }
    assert_eq!(held_back(&world), None, "its last word is old, and the machine needs its points");
}

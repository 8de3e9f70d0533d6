//! Hosts and sites that are gone for good: what is forgotten is forgotten at once, nothing is
//! deleted by that, and who comes back learns of it and keeps what it has.

use farshore_control::Body;
use farshore_job::Ending;
use farshore_policy::OnDisable;

use super::{
    moving::{copied, order, row},
    world::{World, id},
};
use crate::{Bug, Command, Problem, Start, rows::ReplicaFate};

/// More than what is taken for silence.
const LONG_MS: u64 = 130_000;

fn forget(force: bool) -> Command {
    Command::Forget { machine: id(1), force }
}

fn fate(world: &World) -> ReplicaFate {
    row(world).ended.as_ref().unwrap().replica
}

/// Machine 1 is protected, and a host is lost: that of its replica, or its own.
fn lost(source: bool) -> (World, usize) {
    let (mut world, target) = copied();
    let host = if source { row(&world).source() } else { target };
    let at = world.hosts.iter().position(|other| *other == host).unwrap();
    world.lost = vec![at];
    world.wait(LONG_MS);
    world.round();
    (world, at)
}

fn refusal(world: &mut World, command: &Command) -> Problem {
    let before = world.core.clone();
    let problem = world.try_run(command).unwrap_err();
    assert_eq!(world.core, before, "what is refused changes nothing");
    problem
}

#[test]
fn a_protection_whose_hosts_answer_is_disabled_not_forgotten() {
    let (mut world, _) = copied();
    let problem = refusal(&mut world, &forget(false));
    assert_eq!(problem.code, "hosts-answer");
    assert!(problem.advice.contains("disable"), "{problem}");
    let stranger = Command::Forget { machine: id(9), force: true };
    assert_eq!(refusal(&mut world, &stranger).code, "protection-unknown");
}

#[test]
fn a_lost_target_is_forgotten_at_once_and_the_machine_can_be_protected_elsewhere() {
    let (mut world, at) = lost(false);
    let done = world.run(&forget(false));
    let said: Vec<&str> = done.warnings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(said, ["left-at-source", "left-at-target"]);
    assert!(done.warnings[1].what.contains("is gone with its replica"), "{:?}", done.warnings);
    (0..3).for_each(|_| world.round());
    let job = world.core.job(done.jobs[0]).unwrap().job.clone();
    assert_eq!(job.end.map(|end| end.ending), Some(Ending::Succeeded), "nobody is waited for");
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })), "the source has stopped");
    assert_eq!(fate(&world), ReplicaFate::Kept);
    world.enable(1);
    (0..10).for_each(|_| world.round());
    assert_ne!(row(&world).target(), world.hosts[at]);
    assert!(world.core.jobs().all(|row| !row.is_open()));
}

/// It comes back, and nobody has told it anything but the documents.
fn comes_back(world: &mut World, at: usize) {
    world.lost.clear();
    world.cursors.clear();
    (0..6).for_each(|_| world.round());
    let host = world.hosts[at];
    assert!(world.agents[&host].deleted.is_empty(), "forgetting has deleted something");
}

#[test]
fn a_target_that_comes_back_learns_that_it_was_forgotten_and_keeps_its_replica_until_that_is_discarded() {
    let (mut world, at) = lost(false);
    world.run(&forget(false));
    (0..3).for_each(|_| world.round());
    comes_back(&mut world, at);
    assert!(matches!(world.held(at, 1), Some(Body::Removed { .. })), "it has learned");
    let host = world.hosts[at];
    assert!(world.agents[&host].replicas.contains_key(&id(1)), "it keeps what it has");
    let job = world.run(&Command::DiscardReplica { host, machine: id(1), force: false }).jobs[0];
    (0..6).for_each(|_| world.round());
    assert_eq!(world.core.job(job).unwrap().job.end.as_ref().unwrap().ending, Ending::Succeeded);
    assert!(world.agents[&host].replicas.is_empty());
    let gone = Command::DiscardReplica { host, machine: id(1), force: true };
    assert_eq!(refusal(&mut world, &gone).code, "replica-unknown");
}

#[test]
fn a_target_that_comes_back_after_the_machine_was_protected_elsewhere_keeps_its_replica_aside() {
    let (mut world, at) = lost(false);
    world.run(&forget(false));
    world.enable(1);
    (0..10).for_each(|_| world.round());
    comes_back(&mut world, at);
    let host = world.hosts[at];
    assert_ne!(world.protection(at, 1).target.host, host, "it has learned who keeps it now");
    assert!(world.agents[&host].replicas.contains_key(&id(1)));
    world.run(&Command::DiscardReplica { host, machine: id(1), force: false });
    (0..6).for_each(|_| world.round());
    assert!(world.agents[&host].replicas.is_empty());
}

#[test]
fn a_vault_that_deletes_what_it_forgets_is_caught() {
    let (mut world, at) = lost(false);
    world.core = world.core.clone().with_bug(Bug::ForgettingDeletes);
    world.run(&forget(false));
    (0..3).for_each(|_| world.round());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| comes_back(&mut world, at)));
    assert!(caught.is_err());
}

#[test]
fn a_lost_source_leaves_the_only_copy_and_says_so() {
    let (mut world, _) = lost(true);
    let target = row(&world).target();
    let done = world.run(&forget(false));
    assert!(done.warnings[0].what.contains("may be the only copy"), "{:?}", done.warnings);
    (0..3).for_each(|_| world.round());
    assert!(world.agents[&target].replicas.contains_key(&id(1)));
    world.agents.get_mut(&world.hosts[0]).unwrap().machines.clear();
    let discard = |force| Command::DiscardReplica { host: target, machine: id(1), force };
    // The lost host's inventory is not known any more once somebody has forgotten it.
    world.run(&Command::ForgetHost { host: world.hosts[0], force: false });
    assert_eq!(refusal(&mut world, &discard(false)).code, "only-copy");
    world.run(&discard(true));
    (0..6).for_each(|_| world.round());
    assert!(world.agents[&target].replicas.is_empty());
}

#[test]
fn a_deletion_that_waits_for_a_lost_host_is_superseded() {
    let (mut world, target) = copied();
    world.lost = world.hosts.iter().position(|host| *host == target).into_iter().collect();
    let disable = Command::Disable { machine: id(1), replica: Some(OnDisable::Delete), force: true };
    let stuck = world.run(&disable).jobs[0];
    world.wait(LONG_MS);
    (0..3).for_each(|_| world.round());
    assert!(world.core.job(stuck).unwrap().is_open());
    let done = world.run(&forget(false));
    (0..4).for_each(|_| world.round());
    for job in [stuck, done.jobs[0]] {
        assert!(!world.core.job(job).unwrap().is_open());
    }
    let at = world.lost[0];
    comes_back(&mut world, at);
    assert!(world.agents[&target].replicas.contains_key(&id(1)), "it was not deleted after all");
    assert!(!world.run(&forget(true)).changed, "again, nothing is different");
}

#[test]
fn a_first_copy_that_waits_for_a_lost_host_is_superseded() {
    let mut world = World::new();
    world.live();
    world.lost = vec![2, 3];
    let stuck = world.enable(1).jobs[0];
    world.wait(LONG_MS);
    (0..3).for_each(|_| world.round());
    assert!(world.core.job(stuck).unwrap().is_open());
    world.run(&forget(false));
    for _ in 0..80 {
        world.round();
    }
    assert!(world.core.jobs().all(|row| !row.is_open()));
    assert!(!row(&world).is_live());
}

#[test]
fn a_vault_restored_from_before_learns_from_the_other_host_that_it_was_forgotten() {
    let (mut world, at) = lost(false);
    let backup = world.stored.clone();
    world.run(&forget(false));
    (0..3).for_each(|_| world.round());
    world.start(backup, Start::Restored);
    world.cursors.clear();
    world.wait(LONG_MS);
    (0..4).for_each(|_| world.round());
    assert!(!row(&world).is_live(), "what a host knows better counts");
    comes_back(&mut world, at);
    assert!(matches!(world.held(at, 1), Some(Body::Removed { .. })));
}

#[test]
fn a_lost_host_is_forgotten_with_its_roles_and_not_while_it_answers() {
    let (mut world, at) = lost(false);
    let host = world.hosts[at];
    let other = Command::ForgetHost { host: world.hosts[0], force: false };
    assert_eq!(refusal(&mut world, &other).code, "host-answers");
    assert_eq!(refusal(&mut world, &Command::RemoveHost { host }).code, "in-use");
    let done = world.run(&Command::ForgetHost { host, force: false });
    assert_eq!(done.jobs.len(), 1);
    assert!(world.core.host(host).unwrap().removed && !row(&world).is_live());
    (0..3).for_each(|_| world.round());
    assert!(world.core.jobs().all(|row| !row.is_open()));
    assert!(world.agents[&host].deleted.is_empty());
}

#[test]
fn of_a_move_between_two_hosts_the_one_that_is_left_keeps_the_replica() {
    for new_is_lost in [false, true] {
        let (mut world, from) = copied();
        let job = world.run(&order(true)).jobs[0];
        world.round();
        let to = row(&world).target();
        let (gone, stays) = if new_is_lost { (to, from) } else { (from, to) };
        world.lost = world.hosts.iter().position(|host| *host == gone).into_iter().collect();
        world.wait(LONG_MS);
        world.round();
        world.run(&Command::ForgetHost { host: gone, force: false });
        (0..12).for_each(|_| world.round());
        assert!(row(&world).is_live() && row(&world).target() == stays);
        assert!(!world.core.job(job).unwrap().is_open());
        assert!(world.agents[&stays].replicas.contains_key(&id(1)));
    }
}

#[test]
fn a_lost_site_is_forgotten_with_its_clouds_and_hosts() {
    let (mut world, _) = copied();
    let far = world.sites[1];
    assert_eq!(refusal(&mut world, &Command::ForgetSite { site: far, force: false }).code, "host-answers");
    world.lost = vec![2, 3];
    world.wait(LONG_MS);
    world.round();
    let done = world.run(&Command::ForgetSite { site: far, force: false });
    assert_eq!(done.jobs.len(), 1, "one machine was protected there");
    assert!(world.core.site(far).is_none() && world.core.cloud(world.clouds[1]).is_none());
    assert!(world.core.cloud(world.clouds[0]).unwrap().pair.is_none());
    assert!(world.hosts[2..].iter().all(|host| world.core.host(*host).unwrap().removed));
    assert!(!row(&world).is_live());
    world.sites.truncate(1);
    (0..3).for_each(|_| world.round());
    assert!(world.core.jobs().all(|row| !row.is_open()), "nobody is waited for");
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
}

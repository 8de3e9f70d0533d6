//! Maintenance of a host: nothing new comes to it, and its roles move or pause as was said.

use farshore_control::{Body, Key};
use farshore_health::{Level, Subject};
use farshore_job::Ending;
use farshore_types::HostId;

use super::{
    moving::{copied, row},
    world::{GIB, World, id, moment},
};
use crate::{Command, Enable, MachinesThen, Maintenance, ReplicasThen};

/// As [`copied`], with targets that say that they have a point.
fn seen() -> (World, HostId) {
    let (mut world, host) = copied();
    world.agents.values_mut().for_each(|agent| agent.points = 1);
    world.round();
    (world, host)
}

fn on(host: HostId, how: Maintenance) -> Command {
    Command::SetMaintenance { host, on: true, how }
}

fn moves() -> Maintenance {
    Maintenance { replicas: ReplicasThen::Move, delete_old: true, ..Maintenance::default() }
}

fn codes(world: &World) -> (Level, Vec<String>) {
    let health = world.core.judge(row(world), &moment(world.clock)).health;
    (health.level, health.reasons.into_iter().map(|reason| reason.code).collect())
}

#[test]
fn replicas_move_away_and_nothing_new_comes() {
    let (mut world, host) = seen();
    let done = world.run(&on(host, moves()));
    assert_eq!(done.jobs.len(), 1);
    assert_eq!(world.run(&on(host, moves())).jobs, done.jobs, "asked again, they are on their way");
    (0..20).for_each(|_| world.round());
    assert_eq!(world.core.job(done.jobs[0]).unwrap().job.end.as_ref().unwrap().ending, Ending::Succeeded);
    assert!(row(&world).target() != host && world.agents[&host].replicas.is_empty());
    world.run(&Command::Enable(Enable { machines: vec![id(2), id(3)], ..Enable::default() }));
    assert!([2, 3].iter().all(|n| world.core.protection(id(*n)).unwrap().target() != host));
    assert_eq!(codes(&world).0, Level::Normal);
}

#[test]
fn where_no_other_host_can_take_them_all_is_said_and_nothing_begins() {
    let (mut world, host) = seen();
    let other = world.hosts[2..].iter().copied().find(|other| *other != host).unwrap();
    world.run(&on(other, Maintenance::default()));
    let before = world.core.clone();
    let problem = world.try_run(&on(host, moves())).unwrap_err();
    assert_eq!(problem.details.iter().filter(|f| f.code == "no-target").count(), 1, "{problem:?}");
    assert_eq!(world.core, before);
    assert!(world.run(&on(host, Maintenance::default())).changed, "pausing is always possible");
}

#[test]
fn what_stands_still_for_maintenance_is_shown_as_that_and_alerts_nobody() {
    let (mut world, host) = seen();
    world.run(&on(host, Maintenance::default()));
    world.core.set_channels(vec!["mail".to_owned()]);
    for _ in 0..400 {
        world.clock += 9;
        world.round();
        let at = world.moment();
        world.core.watch_over(&at);
        world.commit();
    }
    assert_eq!(codes(&world), (Level::Normal, vec!["maintenance".to_owned()]));
    let at = moment(world.clock);
    let of_host = world.core.host_health(world.core.host(host).unwrap(), &at);
    assert_eq!((of_host.level, of_host.reasons[0].code.as_str()), (Level::Normal, "maintenance"));
    // The test's site servers have no clock.
    let told = world.core.alerts().filter(|alert| !matches!(alert.subject, Subject::Site(_)));
    assert_eq!(told.collect::<Vec<_>>(), Vec::<&crate::rows::AlertRow>::new());
    world.run(&Command::SetMaintenance { host, on: false, how: Maintenance::default() });
    world.round();
    assert_eq!(codes(&world), (Level::Normal, Vec::new()));
}

#[test]
fn machines_pause_with_their_host_or_go_on_until_they_have_moved() {
    let (mut world, _) = seen();
    let source = world.hosts[0];
    let told = |world: &World| match &world.agents[&source].holder.get(&Key::Host(source)).unwrap().body {
        Body::Host(host) => (host.maintenance, host.machines_go_on),
        other => panic!("{other:?}"),
    };
    world.run(&on(source, Maintenance::default()));
    world.round();
    assert_eq!(told(&world), (true, false));
    assert_eq!(codes(&world).1, ["maintenance"]);
    world.run(&on(source, Maintenance { machines: MachinesThen::Follow, ..Maintenance::default() }));
    world.round();
    assert_eq!(told(&world), (true, true));
    assert!(codes(&world).1.is_empty());
    // Migrated, the protection goes with it, and its old host stays in maintenance.
    let moved = world.agent(0).machines.remove(0);
    world.agent(1).machines.push(moved);
    world.all_report();
    assert_eq!(row(&world).source(), world.hosts[1]);
    world.run(&Command::SetMaintenance { host: source, on: false, how: Maintenance::default() });
    world.round();
    assert_eq!(told(&world), (false, false));
}

#[test]
fn a_paused_protection_stays_where_it_is_and_that_is_said() {
    let (mut world, host) = seen();
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    let done = world.run(&on(host, moves()));
    assert_eq!(done.warnings.len(), 1);
    assert!(done.jobs.is_empty() && done.warnings[0].what.contains("stays"), "{:?}", done.warnings);
}

#[test]
fn near_equal_room_counts_as_equal_and_the_fewest_replicas_decide() {
    let mut world = World::new();
    // One disk under both, read at different moments.
    (world.agent(2).free, world.agent(3).free) = (1000 * GIB, 1000 * GIB - 30 * GIB);
    world.all_report();
    let targets: Vec<HostId> = [1, 2]
        .into_iter()
        .map(|n| {
            world.enable(n);
            world.core.protection(id(n)).unwrap().target()
        })
        .collect();
    assert_ne!(targets[0], targets[1], "two machines, two hosts");
    // Clearly more room counts more than fewer replicas.
    world.agent(2).free = 100 * GIB;
    world.all_report();
    world.enable(3);
    assert_eq!(world.core.protection(id(3)).unwrap().target(), world.hosts[3]);
}

//! Moving a replica: whatever happens on the way, the whole one stays until there is another.

use farshore_control::report::ReplicaState;
use farshore_job::{Ending, State};
use farshore_policy::OnDisable;
use farshore_types::{HostId, JobId, PointId};

use super::world::{World, id, moment};
use crate::{Bug, Command, Core, Enable, Maintenance, Problem, ReplicasThen, rows::ProtectionRow};

/// A world in which machine 1 has a whole replica; where that is.
pub(super) fn copied() -> (World, HostId) {
    let mut world = World::new();
    world.live();
    world.enable(1);
    (0..10).for_each(|_| world.round());
    assert!(world.core.jobs().all(|row| !row.is_open()), "the first copy is made");
    let target = row(&world).target();
    (world, target)
}

pub(super) fn row(world: &World) -> &ProtectionRow {
    world.core.protection(id(1)).unwrap()
}

pub(super) fn order(delete_old: bool) -> Command {
    Command::MoveReplica { machine: id(1), to: None, delete_old }
}

fn has_ended(world: &World, job: JobId) -> bool {
    world.core.job(job).is_some_and(|row| !row.is_open())
}

fn ending(world: &World, job: JobId) -> Ending {
    world.core.job(job).unwrap().job.end.as_ref().unwrap().ending
}

fn has(world: &World, host: HostId) -> bool {
    world.agents[&host].replicas.contains_key(&id(1))
}

/// Whether the copy on the new host is whole, as its source knows.
fn is_whole(world: &World) -> bool {
    let row = row(world);
    let report = &world.core.observed_of(row.source()).unwrap().report;
    let epoch = world.core.epoch(id(1)).unwrap().epoch.number;
    let state = report.sources.iter().find(|state| state.machine == id(1));
    state.is_some_and(|state| state.newest.is_some_and(|newest| newest.id.epoch == epoch))
}

/// Plays a move; the rounds it took, and whether the old host had its replica for as long as
/// there was no other.
fn play(world: &mut World, from: HostId, job: JobId) -> (usize, bool) {
    let mut kept = true;
    for rounds in 0..40 {
        if has_ended(world, job) {
            return (rounds, kept);
        }
        world.round();
        kept &= has(world, from) || is_whole(world);
    }
    panic!("{:?}", world.core.job_now(job, &moment(world.clock)));
}

#[test]
fn a_replica_moves_and_the_old_one_goes_only_when_the_new_one_is_whole() {
    let (mut world, from) = copied();
    let before = world.core.epoch(id(1)).unwrap().epoch;
    let job = world.run(&order(true)).jobs[0];
    let to = row(&world).target();
    assert_ne!(to, from);
    assert!(world.core.epoch(id(1)).unwrap().epoch.number > before.number, "no point has two meanings");
    assert_eq!(world.core.leaving(row(&world)).unwrap().host, from);
    let (rounds, kept) = play(&mut world, from, job);
    assert!(kept && rounds > 4, "{rounds}");
    assert_eq!(ending(&world, job), Ending::Succeeded);
    assert!(has(&world, to) && !has(&world, from) && row(&world).leaving.is_none());
}

#[test]
fn kept_the_old_replica_stays_and_can_be_discarded_or_moved_back_to() {
    let (mut world, from) = copied();
    let job = world.run(&order(false)).jobs[0];
    play(&mut world, from, job);
    let to = row(&world).target();
    assert!(has(&world, to) && has(&world, from));
    let wanted = Command::DiscardReplica { host: to, machine: id(1), force: true };
    assert_eq!(world.try_run(&wanted).unwrap_err().code, "replica-wanted");
    // Back again: what it has is compared with.
    let back = Command::MoveReplica { machine: id(1), to: Some(from), delete_old: false };
    let job = world.run(&back).jobs[0];
    play(&mut world, to, job);
    assert_eq!(row(&world).target(), from);
    let discarded = world.run(&Command::DiscardReplica { host: to, machine: id(1), force: false });
    (0..6).for_each(|_| world.round());
    assert_eq!(ending(&world, discarded.jobs[0]), Ending::Succeeded);
    assert!(!has(&world, to) && has(&world, from));
}

#[test]
fn a_vault_that_lets_go_of_the_old_replica_early_is_caught() {
    let (mut world, from) = copied();
    world.bug = Some(Bug::LetsGoEarly);
    world.start(world.stored.clone(), crate::Start::Continued);
    world.all_report();
    let job = world.run(&order(true)).jobs[0];
    let (_, kept) = play(&mut world, from, job);
    assert!(!kept);
}

#[test]
fn a_machine_that_could_not_start_on_the_new_host_is_moved_back() {
    let (mut world, from) = copied();
    for agent in world.agents.values_mut() {
        agent.cannot_start = vec![("no such machine type".to_owned(), "update QEMU".to_owned())];
    }
    let job = world.run(&order(true)).jobs[0];
    let to = row(&world).target();
    let (_, kept) = play(&mut world, from, job);
    assert!(kept && ending(&world, job) == Ending::Failed);
    assert_eq!(row(&world).target(), from);
    assert!(row(&world).is_live() && has(&world, from) && !has(&world, to));
}

#[test]
fn a_new_host_that_falls_silent_keeps_half_a_copy_and_the_move_is_taken_back() {
    let (mut world, from) = copied();
    let job = world.run(&order(true)).jobs[0];
    world.round();
    let to = row(&world).target();
    world.lost = (0..4).filter(|at| world.hosts[*at] == to).collect();
    world.round();
    world.run(&Command::CancelJob { job, by: None });
    for _ in 0..100 {
        world.round();
    }
    assert_eq!(ending(&world, job), Ending::Cancelled);
    assert_eq!(row(&world).target(), from);
    // It is back, learns that it is not the target, and gives its half up when told.
    world.lost.clear();
    (0..3).for_each(|_| world.round());
    assert!(has(&world, to), "that nobody was there is no order");
    world.run(&Command::DiscardReplica { host: to, machine: id(1), force: false });
    (0..6).for_each(|_| world.round());
    assert!(!has(&world, to) && has(&world, from));
}

fn refusal(world: &mut World, command: &Command) -> Problem {
    let before = world.core.clone();
    let problem = world.try_run(command).unwrap_err();
    assert_eq!(world.core, before, "what is refused changes nothing");
    assert!(!problem.what.is_empty() && !problem.advice.is_empty());
    problem
}

#[test]
fn what_stands_against_a_move_is_said_and_nothing_is_changed() {
    let (mut world, from) = copied();
    let to = |host| Command::MoveReplica { machine: id(1), to: Some(host), delete_old: false };
    let codes = |problem: &Problem| -> Vec<String> {
        problem.details.iter().map(|finding| finding.code.clone()).collect()
    };
    assert_eq!(refusal(&mut world, &to(from)).code, "already-there");
    let near = world.hosts[1];
    assert!(codes(&refusal(&mut world, &to(near))).contains(&"target-not-in-cloud".to_owned()));
    let stranger = Command::MoveReplica { machine: id(9), to: None, delete_old: false };
    assert_eq!(refusal(&mut world, &stranger).code, "protection-unknown");
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    assert_eq!(refusal(&mut world, &order(false)).code, "paused");
    world.run(&Command::SetPaused { machine: id(1), paused: false });
    let job = world.run(&order(false)).jobs[0];
    assert_eq!(refusal(&mut world, &order(false)).code, "moving");
    let disable = Command::Disable { machine: id(1), replica: Some(OnDisable::Delete), force: true };
    assert_eq!(refusal(&mut world, &disable).code, "moving");
    let old = Command::DiscardReplica { host: from, machine: id(1), force: true };
    assert_eq!(refusal(&mut world, &old).code, "replica-wanted");
    let host = Command::RemoveHost { host: from };
    assert_eq!(refusal(&mut world, &host).code, "in-use");
    world.run(&Command::CancelJob { job, by: None });
    // A first copy that is not complete is no replica yet that could be moved.
    world.run(&Command::Enable(Enable { machines: vec![id(2)], ..Enable::default() }));
    let early = Command::MoveReplica { machine: id(2), to: None, delete_old: false };
    assert_eq!(refusal(&mut world, &early).code, "initial-copy");
}

#[test]
fn while_it_is_moved_the_old_replica_is_what_is_shown() {
    let (mut world, from) = copied();
    for agent in world.agents.values_mut() {
        agent.points = 5;
    }
    world.round();
    let shown = |core: &Core, clock| {
        let row = core.protection(id(1)).unwrap().clone();
        let judged = core.judge(&row, &moment(clock));
        (judged.newest, judged.replica.map(|replica: &ReplicaState| replica.points))
    };
    let (newest, points) = shown(&world.core, world.clock);
    assert_eq!(points, Some(5));
    world.run(&order(true));
    world.round();
    let (then, still) = shown(&world.core, world.clock);
    assert_eq!(still, Some(5), "those of the old host");
    assert!(then.is_some_and(|(point, age)| Some((point.epoch, age)) > newest.map(|(p, _)| (p.epoch, 0))));
    assert_eq!(world.core.leaving(row(&world)).map(|leaving| leaving.host), Some(from));
    assert_eq!(
        world.core.job_now(row_job(&world), &moment(world.clock)).unwrap().job.node("copy").unwrap().state,
        State::Running
    );
}

fn row_job(world: &World) -> JobId {
    world.core.jobs().find(|row| row.is_open() && row.job.kind == "move").unwrap().job.id
}

#[test]
fn an_old_replica_stays_while_it_has_what_its_host_wrote_itself() {
    let (mut world, from) = copied();
    let own = vec![PointId { epoch: 1, number: 1 }];
    world.agents.get_mut(&from).unwrap().own_writes = own.clone();
    world.all_report();
    let refused = world.try_run(&order(true)).unwrap_err();
    assert!(refused.code == "own-writes" && !refused.advice.contains("--force"), "{refused}");
    assert!(row(&world).leaving.is_none(), "nothing was changed");
    // A host that is emptied is, of all but that.
    let mut emptied = world.clone();
    let how = Maintenance { replicas: ReplicasThen::Move, delete_old: true, ..Maintenance::default() };
    let done = emptied.run(&Command::SetMaintenance { host: from, on: true, how });
    assert!(done.warnings.iter().any(|told| told.code == "own-writes"), "{:?}", done.warnings);
    play(&mut emptied, from, done.jobs[0]);
    assert!(has(&emptied, from) && row(&emptied).target() != from);
    // So is one of which that was not known at first.
    world.agents.get_mut(&from).unwrap().own_writes = Vec::new();
    world.all_report();
    let job = world.run(&order(true)).jobs[0];
    world.agents.get_mut(&from).unwrap().own_writes = own;
    play(&mut world, from, job);
    assert!(has(&world, from) && ending(&world, job) != Ending::Succeeded);
    // And nobody else discards it.
    let discard = |force| Command::DiscardReplica { host: from, machine: id(1), force };
    assert_eq!(world.try_run(&discard(false)).unwrap_err().code, "own-writes");
    world.run(&discard(true));
    (0..6).for_each(|_| world.round());
    assert!(!has(&world, from));
}

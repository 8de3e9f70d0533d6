//! The kill matrix's courses of protections' lives: for each order that begins a job, the states
//! in which it is given and the ways in which it is carried out, and where it leads.

use farshore_control::ownership::Lineage;
use farshore_job::Ending;
use farshore_protection::{Choice, DrillPhase, Flat, Operation, Order, Overlay, State};
use farshore_types::Epoch;

use super::{
    kills::copied,
    world::{World, id},
};
use crate::{Command, jobs::Kind};

/// An order in a state, and where it leads.
pub(super) struct Course {
    /// Of the job that sees to it, where one does.
    pub(super) kind: Kind,
    pub(super) operation: Operation,
    /// What is special about it.
    pub(super) when: &'static str,
    pub(super) set: fn(&mut World),
    /// What is ordered besides.
    pub(super) order: fn(&mut Order, &World),
    /// What happens once it is ordered.
    pub(super) then: fn(&mut World),
    /// For how long nothing happens in each round, in milliseconds: what time decides comes then.
    pub(super) pace_ms: u64,
    /// How its job ends.
    pub(super) ending: Ending,
    pub(super) ends: Ends,
}

/// Where a course leads.
pub(super) struct Ends {
    states: &'static [State],
    /// Whether the machine runs on the other side than that on which it was enabled.
    away: bool,
    /// What may be on its disk.
    disks: &'static [&'static str],
}

/// What was not sent yet may still come, when who ordered it has to order it again.
const AT_LEAST_A: &[&str] = &["a", "ax"];

const fn course(operation: Operation, kind: Kind, set: fn(&mut World), ends: Ends) -> Course {
    let (order, then) = (|_: &mut Order, _: &World| {}, |_: &mut World| {});
    Course { kind, operation, when: "", set, order, then, pace_ms: 0, ending: Ending::Succeeded, ends }
}

const fn home(states: &'static [State], disks: &'static [&'static str]) -> Ends {
    Ends { states, away: false, disks }
}

const fn away(states: &'static [State], disks: &'static [&'static str]) -> Ends {
    Ends { states, away: true, disks }
}

impl Course {
    const fn when(self, when: &'static str) -> Course {
        Course { when, ..self }
    }

    const fn ordered(self, order: fn(&mut Order, &World)) -> Course {
        Course { order, ..self }
    }

    const fn then(self, then: fn(&mut World)) -> Course {
        Course { then, ..self }
    }

    const fn paced(self, pace_ms: u64) -> Course {
        Course { pace_ms, ..self }
    }

    const fn fails(self) -> Course {
        Course { ending: Ending::Failed, ..self }
    }

    pub(super) fn command(&self, world: &World) -> Command {
        match self.operation {
            Operation::Pause => Command::SetPaused { machine: id(1), paused: true },
            Operation::Resume => Command::SetPaused { machine: id(1), paused: false },
            operation => {
                let Command::Operate { machine, mut order } = world.operate(operation) else {
                    unreachable!()
                };
                (self.order)(&mut order, world);
                Command::Operate { machine, order }
            }
        }
    }

    /// A life is where its order leads, and the machine runs there alone, with what was written.
    pub(super) fn is_where_it_was_to_come(&self, world: &World) {
        let mut world = world.clone();
        world.kill = None;
        if !std::mem::take(&mut world.lost).is_empty() {
            // Who was lost is back, and learns what has come to be.
            world.cursors.clear();
            world.rounds(4);
        }
        let Ends { states, away, disks } = self.ends;
        let life = world.row().life.clone();
        assert!(states.contains(&life.state()), "{:?}: {life:?}", life.state());
        let source = world.source();
        assert_eq!(world.running(id(1)), [source], "{life:?}");
        assert_eq!(source > 1, away, "{life:?}");
        assert!(disks.contains(&world.disk(source).as_str()), "{:?}: {life:?}", world.disk(source));
        match self.operation {
            Operation::TestFailover => assert_eq!(life.drill.unwrap().phase, DrillPhase::Open),
            Operation::CleanUp => assert!(life.drill.is_none()),
            Operation::Flatten => assert_eq!(life.flat, Flat::Own),
            Operation::StopFlatten => assert_eq!(life.flat, Flat::Layered),
            Operation::Pause | Operation::Resume => {
                assert_eq!(life.paused, self.operation == Operation::Pause);
            }
            _ => {}
        }
    }
}

/// A world in which that is so.
pub(super) fn where_is(set: fn(&mut World)) -> World {
    let mut world = World::new();
    world.live();
    world.round();
    set(&mut world);
    world
}

/// Nothing is under way, and the other side has everything but the last that was written.
fn replicating(world: &mut World) {
    copied(world);
    world.write(id(1), "a");
    world.rounds(2);
    world.write(id(1), "x");
}

fn stubborn(world: &mut World) {
    replicating(world);
    let at = world.source();
    world.hand(at, id(1)).stubborn = true;
}

fn target_lost(world: &mut World) {
    world.lost = vec![world.target()];
}

/// Its agent hears nothing any more, and the vault has not noticed.
fn source_lost(world: &mut World) {
    world.lost = vec![world.source()];
}

fn source_known_lost(world: &mut World) {
    replicating(world);
    source_lost(world);
    world.wait(130_000);
    world.rounds(2);
}

/// At the newest point, by an unplanned failover: what was not sent is not there.
pub(super) fn failed_over(world: &mut World) {
    replicating(world);
    ordered(world, Operation::UnplannedFailover);
    world.write(id(1), "f");
}

fn committed(world: &mut World) {
    failed_over(world);
    ordered(world, Operation::Commit);
}

fn moved_over(world: &mut World) {
    replicating(world);
    ordered(world, Operation::PlannedFailover);
    world.write(id(1), "y");
}

fn moved_for_good(world: &mut World) {
    moved_over(world);
    ordered(world, Operation::Commit);
}

fn stopping(world: &mut World) {
    stubborn(world);
    world.order(Operation::PlannedFailover);
    world.round();
    assert_eq!(world.state(), State::Stopping);
}

/// Back at the first of two points, and the later one is left as it is.
fn changed(world: &mut World) {
    failed_over(world);
    ordered(world, Operation::ChangePoint);
}

/// Sealed, and not accepted: the other side does nothing until then.
pub(super) fn sealed_by(world: &mut World, operation: Operation) {
    world.order(operation);
    let to = world.target();
    world.deliver_all();
    world.agent(to).lives = false;
    world.hands_work();
    world.all_report();
    world.tick();
    world.agent(to).lives = true;
    assert!(world.running(id(1)).is_empty());
}

pub(super) fn sealed(world: &mut World) {
    replicating(world);
    sealed_by(world, Operation::PlannedFailover);
    assert_eq!(world.state(), State::Sealed);
}

/// Sealed, and nobody waits for the rest.
fn sealed_and_left(world: &mut World) {
    sealed(world);
    leave_jobs(world);
}

fn cancel_sealed(world: &mut World) {
    failed_over(world);
    sealed_by(world, Operation::Cancel);
}

fn cancel_sealed_and_left(world: &mut World) {
    cancel_sealed(world);
    leave_jobs(world);
}

fn leave_jobs(world: &mut World) {
    let open: Vec<_> = world.core.jobs().filter(|row| row.is_open()).map(|row| row.job.id).collect();
    for job in open {
        world.run(&Command::CancelJob { job, by: Some("ann".to_owned()) });
    }
}

/// Sealed, and the other side knows what it is to do.
fn sealed_and_told(world: &mut World) {
    sealed(world);
    world.deliver_all();
}

/// Both do what they were told before.
fn is_accepted(world: &mut World) {
    world.hands_work();
    let host = world.hosts[world.target()];
    assert_eq!(world.agents[&host].lineages[&id(1)].owner, host);
}

fn sealed_and_target_lost(world: &mut World) {
    sealed(world);
    world.lost = vec![world.target()];
    world.wait(130_000);
    world.rounds(1);
}

/// Somebody on the other side brought it up, while nobody could say whether it runs at home.
pub(super) fn contested(world: &mut World) {
    replicating(world);
    let (home, away) = (world.source(), world.target());
    world.lost = vec![home];
    let host = world.hosts[away];
    let epoch = Epoch { number: 2, token: 99 };
    world.agent(away).lineages.insert(id(1), Lineage::new(id(1), epoch, host));
    let hand = world.hand(away, id(1));
    (hand.runs, hand.disk) = (true, Some("ab".to_owned()));
    world.rounds(2);
    world.lost.clear();
    world.cursors.clear();
    world.rounds(2);
    assert_eq!((world.state(), world.running(id(1))), (State::Contested, vec![home, away]));
}

fn drilling(world: &mut World) {
    replicating(world);
    ordered(world, Operation::TestFailover);
}

fn flattening(world: &mut World) {
    moved_for_good(world);
    world.order(Operation::Flatten);
}

fn paused(world: &mut World) {
    replicating(world);
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    world.rounds(2);
}

pub(super) fn ordered(world: &mut World, operation: Operation) {
    world.order(operation);
    (0..8).for_each(|_| world.round());
    assert!(world.core.jobs().all(|row| !row.is_open()), "{operation:?} is done");
}

/// Those that begin a job.
pub(super) const WITH_JOBS: &[Course] = {
    use Operation as By;
    use State::{Committed, FailedOver, MovedOver, Protected, Resynchronizing};
    const COPIED: &[State] = &[Protected, Resynchronizing];
    &[
        course(By::PlannedFailover, Kind::PlannedFailover, replicating, away(&[MovedOver], &["ax"])),
        course(By::PlannedFailover, Kind::PlannedFailover, stubborn, away(&[MovedOver], &["ax"]))
            .when("it is switched off")
            .ordered(|order, _| order.power_off = true),
        course(By::PlannedFailover, Kind::PlannedFailover, stubborn, home(&[Protected], &["ax"]))
            .when("it does not shut down")
            .paced(60_000)
            .fails(),
        course(By::PlannedFailover, Kind::PlannedFailover, replicating, home(&[Protected], &["ax"]))
            .when("the target is lost meanwhile")
            .then(target_lost)
            .paced(20_000)
            .fails(),
        course(By::Failback, Kind::PlannedFailover, moved_for_good, home(&[MovedOver], &["axy"])),
        course(By::UnplannedFailover, Kind::UnplannedFailover, replicating, away(&[FailedOver], AT_LEAST_A)),
        course(
            By::UnplannedFailover,
            Kind::UnplannedFailover,
            source_known_lost,
            away(&[FailedOver], &["a"]),
        )
        .when("the source is lost"),
        course(By::UnplannedFailover, Kind::UnplannedFailover, sealed, away(&[FailedOver], &["ax"]))
            .when("it is sealed"),
        course(By::UnplannedFailover, Kind::UnplannedFailover, replicating, away(&[MovedOver], &["ax"]))
            .when("it is stopped first")
            .ordered(|order, _| order.try_to_stop = true),
        course(By::UnplannedFailover, Kind::UnplannedFailover, replicating, away(&[FailedOver], &["a"]))
            .when("it is to be stopped first, and cannot be")
            .then(source_lost)
            .ordered(|order, _| order.try_to_stop = true)
            .paced(20_000),
        course(By::TakeBack, Kind::UnplannedFailover, sealed_and_target_lost, home(&[Committed], &["ax"])),
        course(By::DeclareWinner, Kind::UnplannedFailover, contested, away(&[Committed], &["ab"]))
            .when("the other side wins")
            .ordered(|order, world| order.winner = Some(world.hosts[world.target().max(world.source())])),
        course(By::DeclareWinner, Kind::UnplannedFailover, contested, home(&[Committed], &["ax"]))
            .when("home wins")
            .ordered(|order, world| order.winner = Some(world.hosts[0])),
        course(By::ChangePoint, Kind::ChangePoint, failed_over, away(&[FailedOver], &[""])),
        course(By::ChangePoint, Kind::ChangePoint, changed, away(&[FailedOver], &["af"]))
            .when("back, as it was left")
            .ordered(|order, world| {
                let left = &world.agents[&world.row().source()].hands[&id(1)].left;
                (order.point, order.overlay) = (Choice::At(*left.keys().next().unwrap()), Overlay::AsLeft);
            }),
        course(By::Cancel, Kind::CancelFailover, failed_over, home(COPIED, &["ax"])),
        course(By::Cancel, Kind::CancelFailover, moved_over, home(COPIED, &["ax"])).when("it was planned"),
        course(By::Complete, Kind::PlannedFailover, sealed_and_left, away(&[MovedOver], &["ax"])),
        course(By::Complete, Kind::CancelFailover, cancel_sealed_and_left, home(COPIED, &["ax"]))
            .when("it is a cancel"),
        course(By::Abort, Kind::AbortFailover, stopping, home(&[Protected], &["ax"])),
        course(By::Abort, Kind::AbortFailover, sealed, home(&[Protected], &["ax"])).when("it is sealed"),
        course(By::Abort, Kind::AbortFailover, cancel_sealed, away(&[FailedOver], &["af"]))
            .when("it is a cancel that is sealed"),
        course(By::Abort, Kind::AbortFailover, sealed_and_told, away(&[MovedOver], &["ax"]))
            .when("it is too late")
            .then(is_accepted)
            .fails(),
        course(By::Commit, Kind::Commit, failed_over, away(&[Committed], &["af"])),
        course(By::Commit, Kind::Commit, moved_over, away(&[Protected], &["axy"])).when("it was planned"),
        course(By::Reverse, Kind::Reverse, committed, away(&[Protected], &["af"])),
        course(By::TestFailover, Kind::TestFailover, replicating, home(&[Protected], &["ax"])),
        course(By::CleanUp, Kind::CleanUp, drilling, home(&[Protected], &["ax"])),
        course(By::Flatten, Kind::Flatten, moved_for_good, away(&[Protected], &["axy"])),
    ]
};

/// Those that begin none, or only later: they are killed at each of their commits alone.
pub(super) const WITHOUT: &[Course] = {
    use Operation as By;
    use State::{MovedOver, Protected};
    &[
        course(By::Pause, Kind::Resync, replicating, home(&[Protected], &["ax"])),
        course(By::Resume, Kind::Resync, paused, home(&[Protected], &["ax"])),
        course(By::StopFlatten, Kind::Flatten, flattening, away(&[Protected], &["axy"])),
        course(By::Complete, Kind::PlannedFailover, sealed, away(&[MovedOver], &["ax"]))
            .when("its job waits for that"),
        course(By::Flatten, Kind::Flatten, moved_for_good, away(&[Protected], &["axy"]))
            .when("it is time for it")
            .paced(10_000)
            .ordered(|order, world| order.at_ms = Some(super::world::moment(world.clock + 15).wall_ms)),
    ]
};

//! The kill matrix's worlds of protections' lives: what each of those jobs needs to be there, and
//! where it leads.

use farshore_protection::{DrillPhase, Flat, Operation, State};

use super::{
    kills::copied,
    world::{World, id},
};
use crate::jobs::Kind;

/// Makes that be so which a kind of job needs.
pub(super) fn set(kind: Kind, world: &mut World) {
    match kind {
        Kind::PlannedFailover | Kind::UnplannedFailover | Kind::TestFailover => copied(world),
        Kind::ChangePoint | Kind::CancelFailover | Kind::Commit => failed_over(world),
        Kind::Reverse => {
            failed_over(world);
            ordered(world, Operation::Commit);
        }
        Kind::AbortFailover => {
            copied(world);
            world.hand(0, id(1)).stubborn = true;
            world.order(Operation::PlannedFailover);
            world.round();
        }
        Kind::CleanUp => {
            copied(world);
            ordered(world, Operation::TestFailover);
        }
        Kind::Flatten => {
            copied(world);
            ordered(world, Operation::PlannedFailover);
            ordered(world, Operation::Commit);
        }
        other => panic!("{other:?} is no order of a life"),
    }
}

/// At the older one of two points, by an unplanned failover.
pub(super) fn failed_over(world: &mut World) {
    copied(world);
    world.write(id(1), "a");
    world.round();
    world.order(Operation::UnplannedFailover);
    (0..6).for_each(|_| world.round());
}

pub(super) fn ordered(world: &mut World, operation: Operation) {
    world.order(operation);
    (0..8).for_each(|_| world.round());
    assert!(world.core.jobs().all(|row| !row.is_open()), "{operation:?} is done");
}

pub(super) fn operation(kind: Kind) -> Operation {
    match kind {
        Kind::PlannedFailover => Operation::PlannedFailover,
        Kind::UnplannedFailover => Operation::UnplannedFailover,
        Kind::ChangePoint => Operation::ChangePoint,
        Kind::CancelFailover => Operation::Cancel,
        Kind::AbortFailover => Operation::Abort,
        Kind::Commit => Operation::Commit,
        Kind::Reverse => Operation::Reverse,
        Kind::TestFailover => Operation::TestFailover,
        Kind::CleanUp => Operation::CleanUp,
        Kind::Flatten => Operation::Flatten,
        other => panic!("{other:?} is no order of a life"),
    }
}

/// A life is where its order leads, and the machine runs there alone.
pub(super) fn is_where_it_was_to_come(kind: Kind, world: &World) {
    let row = world.core.protection(id(1)).unwrap();
    let states: &[State] = match kind {
        Kind::PlannedFailover => &[State::MovedOver],
        Kind::UnplannedFailover | Kind::ChangePoint => &[State::FailedOver],
        Kind::Commit => &[State::Committed],
        Kind::CancelFailover => &[State::Resynchronizing, State::Protected],
        _ => &[State::Protected],
    };
    assert!(states.contains(&row.life.state()), "{kind:?}: {:?}", row.life);
    let source = world.hosts.iter().position(|host| *host == row.source()).unwrap();
    assert_eq!(world.running(id(1)), [source], "{kind:?}: {:?}", row.life);
    match kind {
        Kind::TestFailover => assert_eq!(row.life.drill.as_ref().unwrap().phase, DrillPhase::Open),
        Kind::CleanUp => assert!(row.life.drill.is_none()),
        Kind::Flatten => assert_eq!(row.life.flat, Flat::Own),
        _ => {}
    }
}

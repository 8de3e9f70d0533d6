//! Deleting a replica: asked for once the end is known, never while it may be the only copy.

use farshore_control::{
    Body, Key,
    request::{Action, Answer, Ending, Outcome},
};
use farshore_policy::OnDisable;
use farshore_types::{PointId, RequestId};

use super::world::{World, id};
use crate::{Command, Start, rows::ReplicaFate};

fn delete(force: bool) -> Command {
    Command::Disable { machine: id(1), replica: Some(OnDisable::Delete), force }
}

fn fate(world: &World) -> ReplicaFate {
    world.core.protection(id(1)).unwrap().ended.as_ref().unwrap().replica
}

fn target(world: &World) -> usize {
    let target = world.core.protection(id(1)).unwrap().target();
    world.hosts.iter().position(|host| *host == target).unwrap()
}

/// A world in which the target was asked to delete the replica.
fn asked() -> (World, usize, RequestId) {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let at = target(&world);
    world.run(&delete(false));
    world.all_report();
    assert_eq!(fate(&world), ReplicaFate::ToDelete, "the end is not known there yet");
    world.deliver_all();
    world.all_report();
    world.deliver_all();
    let ReplicaFate::Asked { request } = fate(&world) else { panic!("{:?}", fate(&world)) };
    (world, at, request)
}

fn ends(world: &mut World, at: usize, request: RequestId, result: Ending) {
    let host = world.hosts[at];
    world.agent(at).outcomes.push(Outcome { id: request, host, result });
    world.report(host);
    assert!(world.agent(at).outcomes.is_empty(), "acknowledged");
}

#[test]
fn a_replica_is_deleted_after_its_host_knows_that_the_protection_has_ended() {
    let (mut world, at, request) = asked();
    let key = Key::Request(request);
    let Body::Request(body) = &world.agent(at).holder.get(&key).unwrap().body else { panic!() };
    assert!(body.expires_ms.is_some(), "what deletes expires");
    assert!(matches!(body.action, Action::DeleteReplica { machine, .. } if machine == id(1)));
    ends(&mut world, at, request, Ending::Done { answer: Answer::Done });
    assert_eq!(fate(&world), ReplicaFate::Deleted);
    world.deliver_all();
    assert!(matches!(world.agent(at).holder.get(&key).unwrap().body, Body::Removed { .. }));
    assert!(world.agent(at).holder.forget_removed(&key));
    world.report(world.hosts[at]);
    assert!(world.core.request(request).is_none() && world.core.document(key).is_none(), "all over");
}

#[test]
fn a_request_that_expired_is_made_anew_and_one_that_failed_is_told() {
    let (mut world, at, request) = asked();
    ends(&mut world, at, request, Ending::Expired);
    let ReplicaFate::Asked { request: second } = fate(&world) else { panic!() };
    assert_ne!(second, request);
    let (what, advice) = ("it is in use".to_owned(), "end the drill".to_owned());
    ends(&mut world, at, second, Ending::Failed { what, advice });
    assert_eq!(fate(&world), ReplicaFate::Kept);
    assert!(
        world.core.protection(id(1)).unwrap().note.as_ref().unwrap().contains("it is in use; end the drill")
    );
    assert!(world.run(&delete(false)).changed, "it can be asked again");
}

#[test]
fn enabling_again_withdraws_the_deletion() {
    let (mut world, at, request) = asked();
    world.enable(1);
    world.deliver_all();
    let held = world.agent(at).holder.get(&Key::Request(request)).unwrap();
    assert!(matches!(held.body, Body::Removed { .. }));
    assert!(world.core.protection(id(1)).unwrap().is_live());
}

#[test]
fn what_may_be_the_only_good_copy_is_deleted_by_force_only() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.agent(0).machines.clear();
    world.all_report();
    assert_eq!(world.try_run(&delete(false)).unwrap_err().code, "only-copy");
    assert!(world.core.protection(id(1)).unwrap().is_live(), "nothing was changed");
    assert!(world.run(&delete(true)).changed);
}

#[test]
fn what_a_host_wrote_itself_is_deleted_by_force_only() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let (at, own) = (target(&world), PointId { epoch: 2, number: 43 });
    (world.agent(at).replicates, world.agent(at).own_writes) = (true, vec![own]);
    world.all_report();
    let refused = |world: &mut World, command: &Command| {
        let problem = world.try_run(command).unwrap_err();
        assert_eq!(problem.code, "own-writes");
        assert!(
            problem.what.contains("2-43") && problem.advice.contains("release m1 --point 2-43"),
            "{problem}"
        );
        assert!(problem.advice.contains("--force"), "{problem}");
    };
    refused(&mut world, &delete(false));
    assert!(world.core.protection(id(1)).unwrap().is_live(), "nothing was changed");
    // Also where the replica was kept at first.
    let keep = Command::Disable { machine: id(1), replica: Some(OnDisable::Keep), force: false };
    world.run(&keep);
    refused(&mut world, &delete(false));
    assert_eq!(fate(&world), ReplicaFate::Kept);
    world.clone().run(&delete(true));
    // Released there, it goes as any other.
    world.agent(at).own_writes = Vec::new();
    world.all_report();
    assert!(world.run(&delete(false)).changed);
}

#[test]
fn a_replica_of_which_nothing_was_heard_since_the_start_is_deleted_by_force_only() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.all_report();
    world.lost = vec![target(&world)];
    world.start(world.stored.clone(), Start::Continued);
    world.all_report();
    assert_eq!(world.try_run(&delete(false)).unwrap_err().code, "own-writes-unknown");
    assert!(world.run(&delete(true)).changed);
}

#[test]
fn an_outcome_that_is_under_way_is_not_acknowledged() {
    let (mut world, at, request) = asked();
    let host = world.hosts[at];
    let running = Ending::Running { done: 1, total: 2 };
    world.agent(at).outcomes.push(Outcome { id: request, host, result: running });
    world.report(host);
    assert_eq!(world.agent(at).outcomes.len(), 1);
    assert_eq!(fate(&world), ReplicaFate::Asked { request });
}

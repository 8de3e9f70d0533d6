//! Single stories of jobs: what they show, what they wait for, and how they are taken back.

use farshore_control::{Body, Intent};
use farshore_job::{Ending, State};
use farshore_policy::{Change, OnDisable, PolicyPatch};
use farshore_types::JobId;

use super::world::{GIB, World, id, moment};
use crate::{
    Bug, Command, Core, JobNow, LoadError, Start,
    jobs::{KEPT_MAX, KEPT_MS},
    rows::{About, JobRow, ReplicaFate},
};

fn live() -> World {
    let mut world = World::new();
    world.live();
    world.round();
    world
}

fn now(world: &World, job: JobId) -> JobNow {
    world.core.job_now(job, &moment(world.clock)).unwrap()
}

fn until_ended(world: &mut World, job: JobId, away: &[usize]) -> JobNow {
    for _ in 0..120 {
        if world.core.job(job).is_some_and(|row| !row.is_open()) {
            return now(world, job);
        }
        world.round_without(away);
    }
    panic!("it does not end: {:?}", now(world, job));
}

fn ending(job: &JobNow) -> Ending {
    job.job.end.as_ref().unwrap().ending
}

fn cause(job: &JobNow) -> String {
    job.job.end.as_ref().unwrap().cause.as_ref().unwrap().what.clone()
}

fn state(job: &JobNow, step: &str) -> State {
    job.job.node(step).unwrap().state
}

fn target(world: &World) -> usize {
    let target = world.core.protection(id(1)).unwrap().target();
    world.hosts.iter().position(|host| *host == target).unwrap()
}

fn cancel(world: &mut World, job: JobId) {
    world.run(&Command::CancelJob { job, by: Some("ann".to_owned()) });
}

fn disable(replica: OnDisable) -> Command {
    Command::Disable { machine: id(1), replica: Some(replica), force: false }
}

#[test]
fn enabling_shows_how_far_it_is_writes_none_of_that_and_ends_with_the_first_point() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    assert_eq!(world.core.job(job).unwrap().about, About::Machine(id(1)));
    assert!(now(&world, job).waits["ask"].contains("definition"), "{:?}", now(&world, job).waits);
    let (mut seen, mut quiet) = (Vec::new(), 0);
    for _ in 0..12 {
        let before = world.stored.get(&("job".to_owned(), job.to_string())).cloned();
        world.round();
        let job = now(&world, job);
        let progress = job.job.node("copy").unwrap().progress;
        if let Some(progress) = progress {
            seen.push(progress.done / GIB);
            let after = world.stored.get(&("job".to_owned(), job.job.id.to_string())).cloned();
            quiet += usize::from(after == before);
        }
    }
    assert_eq!(seen, [1, 2, 3, 4, 5], "how far it is");
    assert!(quiet >= 3, "and that is not written");
    let over = now(&world, job);
    assert_eq!((ending(&over), over.job.permille()), (Ending::Succeeded, 1000));
    assert!(over.job.node("copy").unwrap().result.as_ref().unwrap()["point"].is_string());
}

#[test]
fn what_could_not_start_at_the_target_is_not_protected_and_says_why() {
    let mut world = live();
    for agent in world.agents.values_mut() {
        agent.cannot_start = vec![("no machine type 'pc-q35-99'".to_owned(), "update QEMU".to_owned())];
    }
    let job = world.enable(1).jobs[0];
    let over = until_ended(&mut world, job, &[]);
    assert_eq!(ending(&over), Ending::Failed);
    assert!(cause(&over).contains("pc-q35-99"), "{}", cause(&over));
    assert_eq!(over.job.end.as_ref().unwrap().cause.as_ref().unwrap().advice, "update QEMU");
    let ended = world.core.protection(id(1)).unwrap().ended.clone().unwrap();
    assert_eq!(ended.replica, ReplicaFate::Deleted);
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
}

#[test]
fn a_question_that_cannot_be_answered_is_told_and_protects_all_the_same() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    // Its host cannot look at it now.
    world.agent(0).machines.clear();
    let over = until_ended(&mut world, job, &[]);
    assert_eq!(ending(&over), Ending::Partly);
    assert!(cause(&over).contains("no such machine"), "{}", cause(&over));
    assert!(world.core.protection(id(1)).unwrap().is_live());
}

#[test]
fn cancelling_the_first_copy_deletes_what_it_made_and_keeps_what_was_there_before() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    (0..2).for_each(|_| world.round());
    assert_eq!(state(&now(&world, job), "copy"), State::Running);
    cancel(&mut world, job);
    let over = until_ended(&mut world, job, &[]);
    assert_eq!((ending(&over), state(&over, "order")), (Ending::Cancelled, State::Undone));
    assert!(world.agents.values().all(|agent| agent.replicas.is_empty()));
    let again = world.try_run(&Command::CancelJob { job, by: None }).unwrap_err();
    assert_eq!(again.code, "job-not-cancellable");

    // The second time there is a replica already, with points of its own.
    let job = world.enable(1).jobs[0];
    until_ended(&mut world, job, &[]);
    let job = world.run(&disable(OnDisable::Keep)).jobs[0];
    assert_eq!(ending(&until_ended(&mut world, job, &[])), Ending::Succeeded);
    let job = world.enable(1).jobs[0];
    cancel(&mut world, job);
    assert_eq!(ending(&until_ended(&mut world, job, &[])), Ending::Cancelled);
    assert_eq!(world.core.protection(id(1)).unwrap().ended.as_ref().unwrap().replica, ReplicaFate::Kept);
    let target = target(&world);
    assert!(world.agent(target).replicas.contains_key(&id(1)));
}

#[test]
fn a_host_that_is_away_is_waited_for_in_words_and_cancelling_does_not_need_it() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    let away = [target(&world)];
    (0..70).for_each(|_| world.round_without(&away));
    let waits = now(&world, job).waits;
    assert!(waits["prepare"].contains("has been silent for"), "{waits:?}");
    cancel(&mut world, job);
    let over = until_ended(&mut world, job, &away);
    assert_eq!(ending(&over), Ending::Cancelled);
    let note = over.job.node("order").unwrap();
    assert_eq!(note.state, State::Undone);
    // It comes back, and is told.
    (0..4).for_each(|_| world.round());
    assert!(world.agents.values().all(|agent| agent.replicas.is_empty()));
    let fate = world.core.protection(id(1)).unwrap().ended.as_ref().unwrap().replica;
    assert_eq!(fate, ReplicaFate::Deleted);
}

#[test]
fn disabling_waits_for_both_hosts_and_can_be_left_waiting() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    until_ended(&mut world, job, &[]);
    let away = [target(&world)];
    let job = world.run(&disable(OnDisable::Delete)).jobs[0];
    let again = world.run(&disable(OnDisable::Delete));
    assert_eq!((again.changed, again.jobs), (false, vec![job]), "the same job sees to it");
    (0..70).for_each(|_| world.round_without(&away));
    let job_now = now(&world, job);
    assert_eq!((state(&job_now, "source"), state(&job_now, "target")), (State::Done, State::Running));
    assert!(job_now.waits["target"].contains("silent"), "{:?}", job_now.waits);
    cancel(&mut world, job);
    let over = until_ended(&mut world, job, &away);
    let end = over.job.end.as_ref().unwrap();
    assert_eq!(end.ending, Ending::Cancelled);
    assert!(end.left.iter().all(|left| left.safe), "{end:?}");
    assert!(!world.core.protection(id(1)).unwrap().is_live(), "what has ended stays ended");
    (0..4).for_each(|_| world.round());
    assert!(world.agent(away[0]).replicas.is_empty(), "it goes when its host is back");
}

#[test]
fn associating_tells_host_by_host_what_does_not_fit() {
    let mut world = live();
    let (cloud, policy) = (world.clouds[0], Some(world.policy));
    let far = world.hosts[2];
    world.agent(0).unreachable.insert(far);
    let job = world.run(&Command::Associate { cloud, policy }).jobs[0];
    let away = [3];
    let over = until_ended(&mut world, job, &away);
    assert_eq!(ending(&over), Ending::Partly);
    let told = |what: &str, host: usize| {
        let node = over.job.node(&format!("{what}-{}", world.hosts[host])).unwrap();
        (node.state, node.cause.as_ref().map(|cause| cause.what.clone()).unwrap_or_default())
    };
    assert_eq!(told("configure", 1).0, State::Done);
    assert_eq!(told("reach", 1).0, State::Done);
    assert!(told("reach", 0).1.contains("host 'f1'"), "{:?}", told("reach", 0));
    assert!(told("reach", 3).1.contains("silent"), "{:?}", told("reach", 3));
    assert!(world.core.policy_of(cloud).is_some(), "the policy holds all the same");
}

#[test]
fn a_policy_change_shows_whom_it_has_not_reached_and_a_further_one_is_the_same_job() {
    let mut world = live();
    for n in [1, 2] {
        let job = world.enable(n).jobs[0];
        until_ended(&mut world, job, &[]);
    }
    let policy = world.policy;
    let set = |world: &mut World, secs| {
        let settings = PolicyPatch { copy_frequency_secs: Change::Set(secs), ..PolicyPatch::default() };
        world.run(&Command::ChangePolicy { policy, settings }).jobs
    };
    let job = set(&mut world, 9)[0];
    (0..3).for_each(|_| world.round_without(&[1]));
    assert_eq!(set(&mut world, 11), [job]);
    (0..3).for_each(|_| world.round_without(&[1]));
    let reach = now(&world, job);
    let progress = reach.job.node("reach").unwrap().progress.unwrap();
    assert_eq!((progress.done, progress.total), (1, 2), "{:?}", reach.waits);
    assert!(reach.waits["reach"].contains("'n2'"), "{:?}", reach.waits);
    assert_eq!(ending(&until_ended(&mut world, job, &[])), Ending::Succeeded);
    assert_eq!(world.protection(1, 2).settings.copy_frequency_secs, 11);
}

#[test]
fn comparing_shows_how_far_it_is_and_ends_when_it_is_done() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    until_ended(&mut world, job, &[]);
    let job = world.run(&Command::Resync { machine: id(1) }).jobs[0];
    assert_eq!(world.run(&Command::Resync { machine: id(1) }).jobs, [job]);
    (0..2).for_each(|_| world.round());
    assert!(now(&world, job).job.node("compare").unwrap().progress.is_some());
    assert_eq!(ending(&until_ended(&mut world, job, &[])), Ending::Succeeded);
}

/// A person on the target takes the machine over while its first copy is under way.
fn taken_over(bug: Option<Bug>) -> World {
    let mut world = live();
    if let Some(bug) = bug {
        world.core = world.core.clone().with_bug(bug);
    }
    let job = world.enable(1).jobs[0];
    (0..3).for_each(|_| world.round());
    let at = target(&world);
    world.agent(at).break_glass(id(1), 77);
    world.report(world.hosts[at]);
    assert_eq!(ending(&until_ended(&mut world, job, &[])), Ending::Failed);
    world
}

#[test]
fn what_another_order_has_changed_is_not_taken_back() {
    let world = taken_over(None);
    let row = world.core.protection(id(1)).unwrap();
    assert!(row.is_live() && row.intent() == Intent::Pause, "the person's word stands");
    let world = taken_over(Some(Bug::UndoesOthers));
    assert!(!world.core.protection(id(1)).unwrap().is_live(), "that mistake is seen");
}

#[test]
fn a_restored_vault_goes_on_with_its_jobs_and_asks_anew_what_was_over() {
    for rounds in 0..4 {
        let mut world = live();
        let job = world.enable(1).jobs[0];
        world.deliver_all();
        world.agent(0).work();
        let backup = world.stored.clone();
        (0..rounds).for_each(|_| world.round());
        world.start(backup, Start::Restored);
        let over = until_ended(&mut world, job, &[]);
        assert_eq!(ending(&over), Ending::Succeeded, "{rounds}: {over:?}");
        assert!(world.core.protection(id(1)).unwrap().is_live());
    }
}

#[test]
fn ended_jobs_are_kept_for_some_days_and_in_bounded_number() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    until_ended(&mut world, job, &[]);
    let row = world.core.job(job).unwrap().clone();
    world.wait(KEPT_MS - 60_000);
    assert!(world.core.job(job).is_some());
    world.wait(120_000);
    assert!(world.core.job(job).is_none() && !world.stored.keys().any(|(kind, _)| kind == "job"));
    for n in 0..=KEPT_MAX as u128 {
        let mut job = row.job.clone();
        job.id = JobId(uuid::Uuid::from_u128(n));
        job.end.as_mut().unwrap().at_ms = moment(world.clock).wall_ms + u64::try_from(n).unwrap();
        world.core.tables.jobs.put(JobRow { job, about: row.about });
    }
    world.tick();
    assert_eq!(world.core.jobs().count(), KEPT_MAX);
    assert!(world.core.job(JobId(uuid::Uuid::from_u128(0))).is_none(), "the oldest went");
}

#[test]
fn a_job_of_a_newer_vault_is_refused_and_one_of_an_unknown_kind_waits() {
    let mut world = live();
    let job = world.enable(1).jobs[0];
    let key = ("job".to_owned(), job.to_string());
    let body = String::from_utf8(world.stored[&key].clone()).unwrap();
    let load = |stored: &super::world::Stored| {
        let rows = stored.iter().map(|((kind, key), body)| (kind.as_str(), key.as_str(), body.as_slice()));
        Core::load(rows, Start::Continued, &moment(9999))
    };
    let mut newer = world.stored.clone();
    newer.insert(key.clone(), body.replace("\"format\":1", "\"format\":9").into_bytes());
    let LoadError::Damaged { why, .. } = load(&newer).unwrap_err() else { panic!() };
    assert!(why.contains("format 9"), "{why}");
    let mut unknown = world.stored.clone();
    unknown.insert(key, body.replace("\"kind\":\"enable\"", "\"kind\":\"fly\"").into_bytes());
    let mut core = load(&unknown).unwrap();
    core.tick(&moment(10_000));
    assert!(core.job(job).unwrap().is_open(), "it is left as it is");
}

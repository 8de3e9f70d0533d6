//! Learn first (R6): a vault that was restored, and hosts that know better.

use farshore_control::{
    Body, Intent, Key,
    learning::LEARN_MS,
    request::{self, Ending, Outcome},
    sync::Poll,
};
use farshore_policy::{Change, OnDisable, PolicyPatch};

use super::world::{World, id};
use crate::{Bug, Command, Enable, Start};

fn retention(world: &mut World, secs: u64) {
    let settings = PolicyPatch { keep_daily_secs: Change::Set(secs), ..PolicyPatch::default() };
    world.run(&Command::ChangePolicy { policy: world.policy, settings });
}

const DAY: u64 = 86_400;

#[test]
fn what_was_enabled_after_the_backup_is_known_again_and_goes_on() {
    let mut world = World::new();
    let backup = world.stored.clone();
    world.enable(1);
    world.deliver_all();
    let before = world.protection(0, 1).clone();
    world.start(backup, Start::Restored);
    assert!(world.core.protection(id(1)).is_none());
    world.all_report();
    let row = world.core.protection(id(1)).expect("it is known again");
    assert!(row.is_live() && row.note.is_some());
    world.deliver_all();
    assert_eq!(*world.protection(0, 1), before, "nothing changed for the agents");
    let document = world.core.document(Key::Protection(id(1))).unwrap().document.clone();
    assert_eq!(document.version.term.number, 2, "and it is this vault's now");
}

#[test]
fn retention_that_was_raised_after_the_backup_is_not_lowered_by_it() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup = world.stored.clone();
    retention(&mut world, 30 * DAY);
    world.deliver_all();
    world.start(backup, Start::Restored);
    world.all_report();
    world.deliver_all();
    assert_eq!(world.protection(0, 1).settings.retention.daily_secs, 30 * DAY);
    retention(&mut world, 3 * DAY);
    world.deliver_all();
    assert_eq!(world.protection(0, 1).settings.retention.daily_secs, 3 * DAY, "whoever changes it decides");
}

#[test]
fn an_epoch_issued_after_the_backup_is_never_issued_again() {
    let mut world = World::new();
    let backup = world.stored.clone();
    world.enable(1);
    world.deliver_all();
    world.start(backup, Start::Restored);
    world.all_report();
    world.run(&Command::Disable { machine: id(1), replica: None, force: false });
    world.enable(1);
    world.deliver_all();
    assert_eq!(world.protection(0, 1).epoch.number, 2);
}

#[test]
fn a_protection_that_ended_after_the_backup_stays_ended() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup = world.stored.clone();
    world.run(&Command::Disable { machine: id(1), replica: None, force: false });
    world.deliver_all();
    world.start(backup, Start::Restored);
    world.all_report();
    world.deliver_all();
    assert!(!world.core.protection(id(1)).unwrap().is_live());
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
}

/// A deletion is open in the backup; after it the machine was protected again, and its end says
/// that the replica is kept.
fn restored_to_an_open_deletion(bug: Option<Bug>) -> World {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.run(&Command::Disable { machine: id(1), replica: Some(OnDisable::Delete), force: false });
    let backup = world.stored.clone();
    world.enable(1);
    world.deliver_all();
    world.all_report();
    world.run(&Command::Disable { machine: id(1), replica: Some(OnDisable::Keep), force: false });
    world.deliver_all();
    world.start(backup, Start::Restored);
    if let Some(bug) = bug {
        world.core = world.core.clone().with_bug(bug);
    }
    for _ in 0..4 {
        world.all_report();
        world.deliver_all();
    }
    world
}

fn deletions(world: &World) -> usize {
    let of = |request: &&crate::rows::RequestRow| {
        matches!(request.request.action, request::Action::DeleteReplica { .. }) && !request.withdrawn
    };
    world.core.requests().filter(of).count()
}

#[test]
fn a_replica_that_was_kept_after_the_backup_is_not_deleted_by_what_the_backup_had_open() {
    let world = restored_to_an_open_deletion(None);
    assert_eq!(deletions(&world), 0);
    let row = world.core.protection(id(1)).unwrap();
    assert!(!row.is_live() && row.note.as_ref().is_some_and(|note| note.contains("is kept")), "{row:?}");
    assert_eq!(
        deletions(&restored_to_an_open_deletion(Some(Bug::DeletesByBackup))),
        1,
        "the fault is caught"
    );
}

#[test]
fn a_restored_vault_sends_nothing_and_takes_no_command_before_it_has_learned() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.start(world.stored.clone(), Start::Restored);
    assert!(world.deliver(0).is_empty() && world.deliver(1).is_empty());
    let pause = Command::SetPaused { machine: id(1), paused: true };
    let refused = world.try_run(&pause).unwrap_err();
    assert_eq!(refused.code, "learning");
    assert!(refused.what.contains("4 have not spoken"), "{refused}");
    for host in world.hosts.clone().into_iter().skip(1) {
        world.report(host);
        assert!(world.deliver(1).is_empty());
    }
    assert_eq!(world.core.silent_hosts().collect::<Vec<_>>(), [world.hosts[0]]);
    world.report(world.hosts[0]);
    assert!(!world.deliver(1).is_empty());
    assert!(world.run(&pause).changed);
}

#[test]
fn when_time_is_up_the_vault_goes_on_with_those_that_have_spoken_and_with_them_only() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.start(world.stored.clone(), Start::Restored);
    let target = world.core.protection(id(1)).unwrap().target();
    world.report(target);
    world.wait(LEARN_MS);
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    assert!(world.deliver(0).is_empty(), "host n1 has not spoken");
    let given = world.deliver(1);
    assert!(given.iter().all(|(host, ..)| *host == target) && !given.is_empty());
    assert_eq!(world.protection(0, 1).intent, Intent::Replicate);
    world.report(world.hosts[0]);
    world.deliver(0);
    assert_eq!(world.protection(0, 1).intent, Intent::Pause);
}

#[test]
fn a_restart_that_is_no_restore_does_not_learn_again() {
    let mut world = World::new();
    world.enable(1);
    let term = world.core.term();
    world.start(world.stored.clone(), Start::Continued);
    assert_eq!(world.core.term(), term);
    assert!(world.run(&Command::SetPaused { machine: id(1), paused: true }).changed);
    assert!(!world.deliver(0).is_empty());
}

#[test]
fn a_restart_in_the_middle_of_learning_goes_on_learning() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.start(world.stored.clone(), Start::Restored);
    world.report(world.hosts[0]);
    world.start(world.stored.clone(), Start::Continued);
    assert_eq!(world.core.silent_hosts().count(), 3);
    assert!(world.deliver(0).is_empty());
}

#[test]
fn a_vault_that_hosts_have_left_commands_nothing_any_more() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let mut old = world.clone();
    world.start(world.stored.clone(), Start::Restored);
    world.all_report();
    world.deliver_all();
    old.agents = world.agents.clone();
    old.all_report();
    let told = old.try_run(&Command::SetPaused { machine: id(1), paused: true }).unwrap_err();
    assert_eq!(told.code, "superseded");
    assert!(old.deliver(0).is_empty());
}

/// Two vaults that were restored from one backup, and have learned nothing yet.
fn two_from_one_backup() -> (World, World) {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let mut other = world.clone();
    world.start(world.stored.clone(), Start::Restored);
    other.clock += 5;
    other.start(other.stored.clone(), Start::Restored);
    (world, other)
}

#[test]
fn two_vaults_from_one_backup_are_told_apart() {
    let (mut world, mut other) = two_from_one_backup();
    assert_eq!(world.core.term().number, other.core.term().number);
    assert_ne!(world.core.term(), other.core.term());
    world.all_report();
    world.deliver_all();
    other.agents = world.agents.clone();
    other.all_report();
    assert_eq!(other.core.term().number, 3, "the one that learns speaks above the one that was followed");
}

#[test]
fn of_two_vaults_with_one_term_the_one_that_a_site_does_not_follow_learns_of_it() {
    let (mut world, mut other) = two_from_one_backup();
    // Both have learned from hosts that knew of neither.
    world.all_report();
    other.all_report();
    let followed = Poll { cursor: None, term: Some(world.core.term()), wait_secs: 0 };
    let refused = other.core.poll(other.sites[0], &followed, 0).unwrap_err();
    assert_eq!(refused.code, "superseded");
    other.core.hear_of(world.core.term());
    assert!(other.core.is_superseded(), "it commands nobody any more, and says so");
}

#[test]
fn a_host_that_was_enrolled_after_the_backup_is_known_again_without_a_cloud() {
    let mut world = World::new();
    let backup = world.stored.clone();
    let host = world.add_host(1, "f3");
    world.all_report();
    world.deliver_all();
    world.start(backup, Start::Restored);
    world.all_report();
    let row = world.core.host(host).expect("it is known again");
    assert_eq!((row.name.as_str(), row.cloud), ("f3", None));
    world.run(&Command::SetHostCloud { host, cloud: world.clouds[1] });
}

#[test]
fn a_host_that_was_only_learned_of_is_reached_where_its_peers_reached_it() {
    let mut world = World::new();
    let backup = world.stored.clone();
    let host = world.add_host(1, "f3");
    world.all_report();
    let (machines, target) = (vec![id(1)], Some(host));
    world.run(&Command::Enable(Enable { machines, target, ..Enable::default() }));
    world.deliver_all();
    world.start(backup, Start::Restored);
    for host in world.hosts.clone().into_iter().take(4) {
        world.report(host);
    }
    world.deliver_all();
    assert_eq!(world.protection(0, 1).target.address, "f3:7411", "not told to reach it nowhere");
    world.report(host);
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    world.deliver_all();
    let held = world.protection(0, 1);
    assert_eq!((held.intent, held.target.address.as_str()), (Intent::Pause, "f3:7411"));
}

#[test]
fn an_outcome_is_acknowledged_only_by_a_vault_that_knows_what_was_asked() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup = world.stored.clone();
    let at = world.hosts.iter().position(|h| *h == world.core.protection(id(1)).unwrap().target()).unwrap();
    let host = world.hosts[at];
    world.run(&Command::Disable { machine: id(1), replica: Some(OnDisable::Delete), force: false });
    world.deliver_all();
    world.all_report();
    world.deliver_all();
    let deletes = |row: &&crate::rows::RequestRow| row.request.action.is_drastic();
    let request = world.core.requests().find(deletes).unwrap().id;
    let result = Ending::Done { answer: request::Answer::Done };
    world.agent(at).outcomes.push(Outcome { id: request, host, result });
    let mut old = world.clone();
    world.start(backup, Start::Restored);
    let reply = world.report_once(host, false);
    assert!(reply.wants_documents && reply.acknowledged.is_empty());
    let reply = world.report_once(host, true);
    assert_eq!(reply.acknowledged, [request]);
    assert!(world.core.request(request).unwrap().ending.is_some());
    world.all_report();
    world.deliver_all();
    old.agents.clone_from(&world.agents);
    let result = Ending::Done { answer: request::Answer::Done };
    old.agent(at).outcomes.push(Outcome { id: request, host, result });
    assert!(old.report_once(host, true).acknowledged.is_empty(), "nor by one that was superseded");
}

#[test]
fn a_vault_that_speaks_first_is_caught() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup = world.stored.clone();
    retention(&mut world, 30 * DAY);
    world.deliver_all();
    world.start(backup, Start::Restored);
    world.core = world.core.clone().with_bug(Bug::SpeaksFirst);
    world.tick();
    world.deliver_all();
    let lowered = world.protection(0, 1).settings.retention.daily_secs;
    assert_eq!(lowered, 7 * DAY, "this is what learning first prevents");
}

#[test]
fn a_token_that_was_removed_after_the_backup_holds_again_only_when_somebody_says_so() {
    let mut world = World::new();
    let add = |name: &str| Command::AddToken { name: name.to_owned(), expires_ms: None };
    let (kept, removed) = (world.run(&add("kept")), world.run(&add("removed")));
    let backup = world.stored.clone();
    world.run(&Command::RemoveToken { token: removed.id.unwrap() });
    world.start(backup, Start::Restored);
    let mut names = world.core.suspend_tokens();
    names.sort_unstable();
    assert_eq!(names, ["kept", "removed"]);
    let holds =
        |world: &World, secret: &Option<String>| world.core.token_of(secret.as_ref().unwrap(), 0).is_some();
    assert!(!holds(&world, &kept.secret) && !holds(&world, &removed.secret));
    // Also while it learns: nobody else could say so.
    let fresh = world.run(&add("fresh"));
    world.run(&Command::ConfirmToken { name: "kept".to_owned() });
    assert!(holds(&world, &fresh.secret) && holds(&world, &kept.secret));
    assert!(!holds(&world, &removed.secret));
}

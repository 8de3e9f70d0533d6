//! Learn first (R6), with hosts that were silent when the vault went on without them.

use farshore_control::{Body, Intent, Key, learning::LEARN_MS, ownership::Lineage};
use farshore_policy::{Change, PolicyPatch};
use farshore_types::Epoch;

use super::world::{Stored, World, id};
use crate::{Bug, Command, Start};

const DAY: u64 = 86_400;

fn retention(world: &mut World, secs: u64) {
    let settings = PolicyPatch { keep_daily_secs: Change::Set(secs), ..PolicyPatch::default() };
    world.run(&Command::ChangePolicy { policy: world.policy, settings });
}

/// A machine is protected, a backup is made, then `change` is heard of by the source alone;
/// the vault is restored, and goes on with everybody but the source.
fn restored_without_the_source(change: impl FnOnce(&mut World)) -> World {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup: Stored = world.stored.clone();
    change(&mut world);
    world.deliver(0);
    world.start(backup, Start::Restored);
    for host in world.hosts.clone().into_iter().skip(1) {
        world.report(host);
    }
    world.wait(LEARN_MS);
    world.tick();
    world.deliver_all();
    world
}

/// The source speaks at last.
fn the_source_speaks(world: &mut World) {
    world.report(world.hosts[0]);
    world.deliver_all();
}

fn daily(world: &World, at: usize) -> u64 {
    world.protection(at, 1).settings.retention.daily_secs
}

fn target(world: &World) -> usize {
    let target = world.core.protection(id(1)).unwrap().target();
    world.hosts.iter().position(|host| *host == target).unwrap()
}

#[test]
fn what_a_host_tells_late_is_not_reverted_by_what_was_written_anew_without_it() {
    let mut world = restored_without_the_source(|world| retention(world, 30 * DAY));
    let other = target(&world);
    assert_eq!((daily(&world, 0), daily(&world, other)), (30 * DAY, 7 * DAY));
    assert_eq!(world.protection(0, 1).intent, Intent::Replicate);
    the_source_speaks(&mut world);
    assert_eq!((daily(&world, 0), daily(&world, other)), (30 * DAY, 30 * DAY));
    let held = world.held(0, 1).cloned();
    assert_eq!(held, world.held(other, 1).cloned(), "both have the same document");
}

#[test]
fn what_was_ordered_since_stays_beside_what_is_told_late() {
    let mut world = restored_without_the_source(|world| retention(world, 30 * DAY));
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    the_source_speaks(&mut world);
    assert_eq!((daily(&world, 0), world.protection(0, 1).intent), (30 * DAY, Intent::Pause));
    // Of one thing the later word counts.
    let mut world = restored_without_the_source(|world| retention(world, 30 * DAY));
    retention(&mut world, 3 * DAY);
    the_source_speaks(&mut world);
    assert_eq!((daily(&world, 0), daily(&world, target(&world))), (3 * DAY, 3 * DAY));
}

#[test]
fn an_end_that_is_told_late_is_an_end() {
    let disable = Command::Disable { machine: id(1), replica: None, force: false };
    let mut world = restored_without_the_source(|world| drop(world.run(&disable)));
    world.run(&Command::SetPaused { machine: id(1), paused: true });
    the_source_speaks(&mut world);
    assert!(!world.core.protection(id(1)).unwrap().is_live());
    assert!(matches!(world.held(0, 1), Some(Body::Removed { .. })));
}

#[test]
fn an_end_of_what_the_backup_does_not_know_is_told_to_who_missed_it() {
    let mut world = World::new();
    let backup = world.stored.clone();
    world.enable(1);
    world.deliver_all();
    world.run(&Command::Disable { machine: id(1), replica: None, force: false });
    let other = target(&world);
    world.deliver(0);
    assert!(matches!(world.held(other, 1), Some(Body::Protection(_))), "the target has not heard of it");
    world.start(backup, Start::Restored);
    world.all_report();
    world.deliver_all();
    assert!(matches!(world.held(other, 1), Some(Body::Removed { .. })));
    let term = world.core.term();
    world.start(world.stored.clone(), Start::Restored);
    world.all_report();
    let written = world.core.document(Key::Protection(id(1))).unwrap().document.version.term;
    assert!(written.number > term.number, "also by the next vault");
}

#[test]
fn who_took_the_machine_over_keeps_it_whatever_is_told_of_before() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup = world.stored.clone();
    retention(&mut world, 30 * DAY);
    world.deliver(0);
    let (source, target) = (world.hosts[0], target(&world));
    let epoch = Epoch { number: 2, token: 7 };
    let host = world.hosts[target];
    world.agent(target).lineages.insert(id(1), Lineage::new(id(1), epoch, host));
    world.start(backup, Start::Restored);
    world.report(host);
    // Written before the machine was taken over, and told after that.
    world.report(source);
    world.all_report();
    world.deliver_all();
    let row = world.core.protection(id(1)).unwrap();
    assert_eq!((row.source(), row.intent()), (host, Intent::Pause));
}

#[test]
fn an_address_that_was_changed_after_the_backup_stays() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    let backup = world.stored.clone();
    let (host, address) = (world.core.protection(id(1)).unwrap().target(), "elsewhere:7411".to_owned());
    world.run(&Command::SetHostAddress { host, address: address.clone(), principal: None });
    world.deliver_all();
    world.start(backup, Start::Restored);
    world.all_report();
    world.deliver_all();
    assert_eq!(world.protection(0, 1).target.address, address);
}

#[test]
fn a_second_restore_forgets_nothing_that_was_told_to_nobody_but_a_silent_host() {
    let mut world = restored_without_the_source(|world| retention(world, 30 * DAY));
    world.start(world.stored.clone(), Start::Restored);
    world.all_report();
    world.deliver_all();
    assert_eq!((daily(&world, 0), daily(&world, target(&world))), (30 * DAY, 30 * DAY));
}

#[test]
fn a_vault_that_drops_what_is_told_late_is_caught() {
    let mut world = restored_without_the_source(|world| retention(world, 30 * DAY));
    world.core = world.core.clone().with_bug(Bug::DropsLate);
    the_source_speaks(&mut world);
    assert_eq!(daily(&world, 0), 7 * DAY, "this is what the versions of the parts prevent");
}

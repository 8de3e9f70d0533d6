//! Application-consistent points: each is one only where the guest was frozen at its instant,
//! and whatever goes wrong, the guest is thawed and points go on. The simulated host remembers
//! what the guest was like at each instant.

use std::time::Duration;

use farshore_capture::{
    AppFrequency, FreezeLimits, Status, Unthawed,
    bug::{Bug, plant},
};
use farshore_e2e::world::World;
use farshore_env::RealFiles;
use farshore_hypervisor::{Kind, simulated::Operation};
use farshore_types::Consistency;

const S: Duration = Duration::from_secs(1);

/// A guest with an agent, of which every point from the second on is to be
/// application-consistent.
async fn seeded(hold: Duration) -> World {
    let mut world = World::new().await;
    world.write("vda", 0, &farshore_sim::driver::content(1, 1 << 20));
    world.host.set_guest_agent(world.machine, true).unwrap();
    let limits = FreezeLimits { ask: S, hold, thaw: S };
    (world.settings.apps, world.settings.freeze) = (AppFrequency::new(Some(S)), limits);
    world
}

/// Whether no point is called what it is not.
async fn is_honest(world: &World) -> bool {
    let (labels, instants) = (world.labels().await, world.host.frozen_instants(world.machine).unwrap());
    let frozen = |label: &Consistency| *label == Consistency::Application;
    labels.iter().zip(&instants).all(|(label, instant)| !frozen(label) || *instant)
}

/// Whether the guest is thawed within a while.
async fn thaws(world: &World) -> bool {
    for _ in 0..200 {
        if !world.host.stands_frozen(world.machine).unwrap() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// Waits until it is certain that nothing of ours stands frozen.
async fn until_unmarked(world: &World) {
    while world.state_dir().join("frozen").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_frozen(world: &World) {
    while !world.host.stands_frozen(world.machine).unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a try that failed; its reason.
async fn fault(world: &mut World) -> String {
    let told = |s: &Status| s.apps.fault.is_some();
    world.until("a failed try is told", told).await.apps.fault.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_application_consistent_where_the_guest_was_frozen_at_their_instant() {
    let mut world = seeded(2 * S).await;
    world.start();
    let status = world.until("three of them", |s| s.apps.made == 3).await;
    assert!(
        status.apps.wanted && status.apps.fault.is_none() && status.apps.frozen_ms.is_some(),
        "{status:?}"
    );
    let cycle = status.last_cycle.unwrap();
    assert!(cycle.consistency == Consistency::Application && cycle.frozen_ms.is_some(), "{cycle:?}");
    let labels = world.labels().await;
    assert_eq!(labels[0], Consistency::Crash, "most of the first copy is read of no frozen instant");
    assert_eq!(labels[1..4], [Consistency::Application; 3]);
    assert!(is_honest(&world).await && thaws(&world).await);
    // Changed while it runs: the next ones are ordinary ones again.
    world.settings.apps.set(None);
    world.next_point().await;
    let before = world.labels().await.len();
    world.next_point().await;
    assert_eq!(world.labels().await[before..], vec![Consistency::Crash; world.labels().await.len() - before]);
    assert!(!world.status().apps.wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_points_go_on_and_the_reason_is_told() {
    let mut world = seeded(2 * S).await;
    world.host.set_guest_agent(world.machine, false).unwrap();
    world.settings.apps.set(Some(3600 * S));
    world.start();
    let why = fault(&mut world).await;
    assert!(why.contains("guest agent is not configured") && why.contains("install"), "{why}");
    world.check_newest().await;
    assert!(world.labels().await.iter().all(|label| *label == Consistency::Crash));
    assert_eq!(
        (world.status().apps.made, world.host.calls(Operation::Freeze)),
        (0, 1),
        "with a pause between"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_hangs_costs_a_point_no_more_than_its_limit() {
    let mut world = seeded(2 * S).await;
    let gate = world.host.hold(Operation::Freeze);
    world.start();
    let why = fault(&mut world).await;
    assert!(why.contains("not frozen within 1 s"), "{why}");
    let cycle = world.status().last_cycle.unwrap();
    assert!(cycle.took_ms < 10_000 && cycle.consistency == Consistency::Crash, "{cycle:?}");
    world.check_newest().await;
    drop(gate);
    assert!(thaws(&world).await && is_honest(&world).await);
}

/// A freeze that comes when nobody waits for it any more, and the guest has said in between that
/// it is thawed.
async fn late_freeze() -> World {
    let mut world = seeded(2 * S).await;
    world.settings.apps.set(Some(3600 * S));
    let gate = world.host.hold(Operation::Freeze);
    world.start();
    fault(&mut world).await;
    while world.host.calls(Operation::IsFrozen) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(gate);
    while !world.host.stands_frozen(world.machine).unwrap() && world.host.calls(Operation::Thaw) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_comes_after_the_guest_said_that_it_is_thawed_is_thawed_again() {
    let world = late_freeze().await;
    assert!(thaws(&world).await && is_honest(&world).await);
    until_unmarked(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_a_guest_right_after_a_try_that_was_not_answered_is_ours() {
    let mut world = seeded(2 * S).await;
    world.host.fail(Operation::Freeze, 1, Kind::Timeout);
    world.start();
    fault(&mut world).await;
    world.settings.apps.set(None);
    until_unmarked(&world).await;
    world.host.freeze_one(world.machine, true).unwrap();
    world.settings.apps.set(Some(3600 * S));
    assert!(thaws(&world).await && is_honest(&world).await);
    until_unmarked(&world).await;
    // But what holds it after that is somebody else's.
    world.host.freeze_one(world.machine, true).unwrap();
    let failed = world.status().apps.failed;
    world.settings.apps.set(Some(1800 * S));
    world.until("one more that failed", |s| s.apps.failed > failed).await;
    assert!(!thaws(&world).await);
}

/// A freeze of a killed agent may still come: libvirt's daemon has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_agents_mark_goes_only_when_no_freeze_can_come_and_never_another_ones() {
    let world = seeded(2 * S).await;
    let (dir, mark) = (tempfile::tempdir().unwrap(), |text: &str| text.as_bytes().to_vec());
    let path = dir.path().join("frozen");
    std::fs::write(&path, mark("one")).unwrap();
    let mut left = Unthawed::find(&RealFiles, dir.path(), world.machine).unwrap();
    assert!(!left.thaw(&world.host, &RealFiles).await.unwrap(), "thawed, but for how long?");
    assert!(path.exists());
    world.host.freeze_one(world.machine, true).unwrap();
    assert!(left.thaw(&world.host, &RealFiles).await.unwrap());
    assert!(!path.exists() && !world.host.stands_frozen(world.machine).unwrap());

    world.host.freeze_one(world.machine, true).unwrap();
    std::fs::write(&path, mark("two")).unwrap();
    assert!(left.thaw(&world.host, &RealFiles).await.unwrap(), "its own is done");
    assert!(path.exists() && world.host.stands_frozen(world.machine).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_came_too_late_is_thawed_again() {
    let mut world = seeded(2 * S).await;
    world.host.fail_after_effect(Operation::Freeze, 1, Kind::Timeout);
    world.host.fail(Operation::IsFrozen, 1, Kind::Timeout);
    world.start();
    fault(&mut world).await;
    assert!(thaws(&world).await && is_honest(&world).await);
    world.check_newest().await;
}

/// The answer to a thaw is lost, whether or not the guest thawed; asking again fails, too.
async fn lost_thaw(took_effect: bool) -> World {
    let mut world = seeded(2 * S).await;
    world.settings.apps.set(Some(3600 * S));
    match took_effect {
        true => world.host.fail_after_effect(Operation::Thaw, 1, Kind::Timeout),
        false => world.host.fail(Operation::Thaw, 1, Kind::Timeout),
    }
    world.host.fail(Operation::IsFrozen, 1, Kind::Connection);
    world.start();
    let why = fault(&mut world).await;
    assert!(why.contains("is not known"), "{why}");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_thaw_leaves_no_guest_frozen_and_no_label_that_is_not_known() {
    for took_effect in [true, false] {
        let mut world = lost_thaw(took_effect).await;
        assert!(thaws(&world).await, "by the second way");
        world.check_newest().await;
        let labels = world.labels().await;
        assert!(labels.iter().all(|label| *label == Consistency::Crash), "{labels:?}");
        assert!(!world.state_dir().join("frozen").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_begins_too_late_meets_a_thawed_guest() {
    let mut world = seeded(Duration::from_millis(300)).await;
    world.start();
    world.until("the first copy", |s| s.last_point.is_some()).await;
    let gate = world.host.hold(Operation::BeginBackup);
    until_frozen(&world).await;
    assert!(thaws(&world).await, "while the backup still begins");
    drop(gate);
    let why = fault(&mut world).await;
    assert!(why.contains("0.3 s") && why.contains("busy"), "{why}");
    assert!(is_honest(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_held_and_gave_no_point_is_told() {
    let mut world = seeded(2 * S).await;
    world.settings.apps.set(None);
    world.start();
    world.until("the first copy", |s| s.last_point.is_some()).await;
    world.host.fail(Operation::BeginBackup, 1, Kind::Timeout);
    world.settings.apps.set(Some(3600 * S));
    let why = fault(&mut world).await;
    assert!(why.contains("was frozen, and then the cycle failed"), "{why}");
    assert_eq!((world.status().apps.made, world.status().apps.failed), (0, 1));
    assert!(thaws(&world).await);
    world.check_newest().await;
}

/// Somebody in the guest thaws one of its file systems while the backup begins.
async fn thawed_within() -> World {
    let mut world = seeded(20 * S).await;
    world.start();
    world.until("the first copy", |s| s.last_point.is_some()).await;
    let gate = world.host.hold(Operation::BeginBackup);
    until_frozen(&world).await;
    world.host.freeze_one(world.machine, false).unwrap();
    drop(gate);
    world.until("a try is over", |s| s.apps.made + s.apps.failed > 0).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_that_did_not_hold_makes_a_crash_consistent_point() {
    let mut world = thawed_within().await;
    let why = fault(&mut world).await;
    assert!(why.contains("2 frozen file systems only 1"), "{why}");
    assert!(is_honest(&world).await && thaws(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_somebody_else_froze_is_left_to_him() {
    let mut world = seeded(2 * S).await;
    world.host.freeze_one(world.machine, true).unwrap();
    world.start();
    let why = fault(&mut world).await;
    assert!(why.contains("in frozen state"), "{why}");
    world.check_newest().await;
    assert!(world.host.stands_frozen(world.machine).unwrap() && is_honest(&world).await);
    assert_eq!(world.host.calls(Operation::Thaw), 0);
}

/// The source is killed while the guest stands frozen, and begins anew.
async fn killed_while_frozen() -> World {
    let mut world = seeded(60 * S).await;
    world.start();
    world.until("the first copy", |s| s.last_point.is_some()).await;
    let gate = world.host.hold(Operation::BeginBackup);
    until_frozen(&world).await;
    world.kill_source().await;
    drop(gate);
    assert!(world.host.stands_frozen(world.machine).unwrap(), "nobody has thawed it yet");
    // What it was to be is of no account for a guest that stands still.
    world.settings.apps.set(None);
    world.start();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_a_killed_agent_left_frozen_is_thawed_by_the_next_one() {
    let mut world = killed_while_frozen().await;
    assert!(thaws(&world).await);
    world.check_newest().await;
    assert!(!world.state_dir().join("frozen").exists() && is_honest(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_cannot_be_thawed_is_told_of_until_it_is() {
    let mut world = seeded(60 * S).await;
    world.start();
    world.until("the first copy", |s| s.last_point.is_some()).await;
    let gate = world.host.hold(Operation::BeginBackup);
    until_frozen(&world).await;
    world.host.set_guest_agent(world.machine, false).unwrap();
    drop(gate);
    let status = world.until("it is told", |s| s.apps.unthawed.is_some()).await;
    let why = status.apps.unthawed.unwrap();
    assert!(why.contains("may still stand frozen") && why.contains("fsfreeze --unfreeze"), "{why}");
    world.check_newest().await;
    assert!(is_honest(&world).await, "points go on, for what they are");
    world.host.set_guest_agent(world.machine, true).unwrap();
    world.until("it is thawed", |s| s.apps.unthawed.is_none()).await;
    assert!(thaws(&world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn deliberate_bugs_of_freezing_are_caught() {
    let planted = plant(Bug::LabelsAnyFreeze);
    assert!(!is_honest(&thawed_within().await).await, "a label for a freeze that did not hold");
    drop(planted);

    let planted = plant(Bug::ThawsEarly);
    let mut world = seeded(2 * S).await;
    world.start();
    world.until("two of them", |s| s.apps.made == 2).await;
    assert!(!is_honest(&world).await, "a thaw before the instant");
    drop(planted);

    let planted = plant(Bug::TrustsLostThaw);
    let mut world = lost_thaw(false).await;
    world.settings.apps.set(None);
    world.next_point().await;
    assert!(!thaws(&world).await, "a guest that stays frozen");
    drop(planted);

    let planted = plant(Bug::ForgetsLateFreeze);
    assert!(!thaws(&late_freeze().await).await, "a freeze that comes late");
    drop(planted);

    let planted = plant(Bug::ForgetsFrozen);
    assert!(!thaws(&killed_while_frozen().await).await, "a guest that a killed agent left frozen");
    drop(planted);
}

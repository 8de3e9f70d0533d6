//! Each rule of ownership, or each half of one, taken away: a story that goes right with it goes
//! wrong without it, by what must never be. Rules of which what is left hides the loss are taken
//! away where they are (`crates/ownership/src/tests.rs`, `crates/protection/tests/life`), those of
//! the vault and of site servers in the stories of the whole control plane.

use farshore_control::ownership::bug::{self as rules, Bug as Rule};
use farshore_protection::{
    Operation, State,
    bug::{Bug, plant},
};

use crate::{
    acts::Act,
    attacks::Story,
    world::{self, World},
};

fn protected() -> Story {
    Story::begin(World::protected())
}

fn moving() -> Story {
    protected().order(0, Operation::PlannedFailover).both_told()
}

/// The story is right with the rule, and is found to be wrong without it, by these words.
fn caught<P>(story: fn() -> Story, plant: impl FnOnce() -> P, words: &str) {
    assert_eq!(story().faults, Vec::<String>::new());
    let _planted = plant();
    let faults = story().faults;
    assert!(faults.iter().any(|fault| fault.contains(words)), "{faults:?}");
}

/// The machine was sealed, and runs on the other side; the agent that sealed it is started anew,
/// and has only what it holds to go by.
fn sealed_and_restarted() -> Story {
    let story = moving().run_until_sealed().with(Act::Send(0)).with(Act::Next(1)).with(Act::Next(1));
    assert_eq!(story.world.running(), [1]);
    (0..2).fold(story.with(Act::Cut).with(Act::Restart(0)), |story, _| story.maybe(Act::Next(0)))
}

#[test]
fn r3_without_the_seal_the_old_owner_starts_beside_the_new_one() {
    caught(sealed_and_restarted, || rules::plant(Rule::StartsSealed), "runs on both sides");
}

/// The machine was shut down, to be moved, and is not sealed; its host goes on without the vault.
fn stopped_and_restarted() -> Story {
    let story = moving().with(Act::Next(0)).heard_by(0);
    let story = story.with(Act::Fetch { site: 1, vault: 0 }).with(Act::Pull(1));
    let story = (0..2).fold(story, |story, _| story.maybe(Act::Next(1)));
    story.with(Act::Restart(0)).maybe(Act::Next(0))
}

#[test]
fn r3_a_new_owner_that_starts_without_a_seal_is_met_by_the_old_one() {
    caught(stopped_and_restarted, || plant(Bug::StartsUnsealed), "runs on both sides");
}

/// The new owner has accepted and runs the machine; its agent is started anew, and the move is
/// given up by a vault that has not heard of that.
fn accepted_and_restarted() -> Story {
    let story = moving().run_until_sealed().with(Act::Send(0)).with(Act::Next(1)).with(Act::Next(1));
    let story = story.with(Act::Restart(1)).order(0, Operation::Abort).both_told();
    let story = story.maybe(Act::Next(1));
    (0..2).fold(story, |story, _| story.maybe(Act::Next(0)))
}

#[test]
fn r2_an_owner_that_acts_before_its_epoch_is_durable_lets_the_other_one_start_too() {
    assert_eq!(accepted_and_restarted().faults, Vec::<String>::new());
    let faults = world::with_bug(world::Bug::ActsUnsynced, || accepted_and_restarted().faults);
    for words in ["has forgotten epoch 2", "runs on both sides"] {
        assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
    }
}

/// The new owner holds the document of before, which knows only of the old one.
fn accepted_by_an_old_document() -> Story {
    moving().run_until_sealed().with(Act::Send(0)).with(Act::Next(1)).maybe(Act::Next(1))
}

#[test]
fn r2_an_epoch_that_goes_back_is_found() {
    caught(accepted_by_an_old_document, || rules::plant(Rule::TakesLower), "has forgotten epoch 2");
}

/// A failover of which the old owner was not told, and which goes on sending.
fn failed_over_from_one_that_sends() -> Story {
    let story = protected().order(0, Operation::UnplannedFailover);
    let story = story.with(Act::Fetch { site: 1, vault: 0 }).with(Act::Pull(1));
    story.with(Act::Next(1)).maybe(Act::Next(1)).with(Act::Write(0)).maybe(Act::Cycle(0))
}

#[test]
fn r1_a_failover_that_issues_no_epoch_is_found() {
    caught(failed_over_from_one_that_sends, || plant(Bug::IssuesNone), "has two owners");
}

#[test]
fn r4_an_epoch_of_before_that_writes_is_found() {
    let words = "has written the replica by an epoch of before";
    caught(failed_over_from_one_that_sends, || rules::plant(Rule::LetsLowerWrite), words);
}

/// What goes beside the machine: nothing of it is sent, and nothing of it owns anything.
fn paused() -> Story {
    protected().order(0, Operation::Pause).both_told().with(Act::Write(0)).maybe(Act::Cycle(0))
}

#[test]
fn a_pause_that_pauses_nothing_is_found() {
    caught(paused, || plant(Bug::SendsPaused), "though replication is paused");
}

fn flattening() -> Story {
    let story = moving().converged().order(0, Operation::Commit).order(0, Operation::Flatten).both_told();
    story.with(Act::Beside(1)).with(Act::Write(1)).maybe(Act::Cycle(1))
}

#[test]
fn cycles_beside_flattening_are_found() {
    caught(flattening, || plant(Bug::FlattensBeside), "has sent while it flattens");
}

fn drilled() -> Story {
    protected().order(0, Operation::TestFailover).both_told().with(Act::Beside(1)).heard_by(0)
}

#[test]
fn a_test_failover_that_issues_an_epoch_is_found() {
    assert_eq!(drilled().world.agents[1].copy, Some(1));
    assert_eq!((drilled().world.running(), drilled().state()), (vec![0], State::Protected));
    caught(drilled, || plant(Bug::DrillOwns), "'test-failover' has changed the owner");
}

fn failed_over_from_a_drill() -> Story {
    drilled().order(0, Operation::UnplannedFailover)
}

#[test]
fn a_test_failover_that_outlives_a_failover_is_found() {
    let story = failed_over_from_a_drill().converged();
    assert_eq!((story.world.agents[1].copy, story.world.running()), (None, vec![1]));
    story.is_fine().unwrap();
    caught(failed_over_from_a_drill, || plant(Bug::KeepsDrill), "what goes beside the machine");
}

/// A test failover is ordered, then the vault is lost; the one that is promoted knows nothing of
/// it, and no host tells it before somebody takes the machine over by himself.
fn drill_of_a_lost_vault() -> Story {
    let story = protected().order(0, Operation::TestFailover);
    let story = story.with(Act::Fetch { site: 1, vault: 0 }).with(Act::Pull(1)).with(Act::Beside(1));
    let mut story = story.with(Act::Lose(0));
    story.world.relays[1].warm = World::protected().relays[1].warm.clone();
    story.with(Act::Promote(1)).with(Act::Alone { at: 1, force: true })
}

/// Found by the exploration.
#[test]
fn the_copy_of_a_drill_that_no_vault_knows_of_is_found_and_removed() {
    let story = drill_of_a_lost_vault();
    assert_eq!(story.world.agents[1].copy, Some(1));
    story.is_fine().unwrap();
    let _planted = plant(Bug::LosesDrills);
    assert!(drill_of_a_lost_vault().is_fine().is_err());
}

/// A cancel reaches the host that runs the machine, its abort only the other one, and the vault
/// is lost: sealed here, refused there for good, and the next vault knows of the seal alone.
#[test]
fn a_machine_that_is_sealed_here_and_refused_there_is_given_up_and_runs_again() {
    let story = protected().order(0, Operation::UnplannedFailover).converged();
    let story = story.order(0, Operation::Cancel).with(Act::Fetch { site: 1, vault: 0 });
    let story = story.order(0, Operation::Abort).with(Act::Fetch { site: 0, vault: 0 }).with(Act::Lose(0));
    let story = story.with(Act::Pull(0)).with(Act::Next(0)).with(Act::Pull(1));
    let story = (0..2).fold(story, |story, _| story.maybe(Act::Next(1)));
    let refused = &story.world.agents[0].lineage.refused;
    assert_eq!(story.world.agents[1].lineage.seal.map(|seal| seal.next), refused.first().copied());
    assert_eq!((refused.len(), story.world.running()), (1, Vec::new()));
    story.is_fine().unwrap();
}

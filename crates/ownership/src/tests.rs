//! The rules one by one. What they come to together is the model check's.

use farshore_types::{PointId, RootDigest};
use uuid::Uuid;

use super::*;

const A: HostId = HostId(Uuid::from_u128(0xa));
const B: HostId = HostId(Uuid::from_u128(0xb));

fn epoch(number: u64, token: u128) -> Epoch {
    Epoch { number, token }
}

fn lineage(number: u64, owner: HostId) -> Lineage {
    Lineage::new(MachineId(Uuid::nil()), epoch(number, 1), owner)
}

fn last() -> PointRef {
    PointRef { id: PointId { epoch: 1, number: 9 }, root: RootDigest([7; 32]) }
}

#[test]
fn an_epoch_is_issued_above_the_highest_known_and_only_from_it() {
    let known = [epoch(2, 1), epoch(5, 1), epoch(3, 1)];
    assert_eq!(issue(&known, Some(&epoch(5, 1)), 7), Ok(epoch(6, 7)));
    assert_eq!(issue(&known, Some(&epoch(3, 1)), 7), Err(Denied::Moved { held: 5, expected: 3 }));
    assert_eq!(issue(&[], None, 7), Ok(epoch(1, 7)));
    assert_eq!(issue(&known, None, 7), Err(Denied::Moved { held: 5, expected: 0 }));
}

#[test]
fn where_two_owners_hold_one_number_only_a_winner_goes_on() {
    let known = [epoch(5, 1), epoch(5, 2)];
    assert_eq!(issue(&known, Some(&epoch(5, 1)), 7), Err(Denied::Conflict { number: 5 }));
    assert_eq!(issue_for_winner(&known, 7), epoch(6, 7));
}

#[test]
fn a_superseded_owner_neither_writes_nor_starts() {
    let mut held = lineage(4, A);
    assert_eq!(held.hear(&epoch(5, 2), B), Heard::Superseded);
    assert_eq!(held.may_write(A, &epoch(4, 1)), Err(Denied::Superseded { asked: 4, held: 5 }));
    assert_eq!(held.may_start(A, Occasion::Ordered), Err(Denied::NotOwner { epoch: 5 }));
    assert_eq!(held.may_write(B, &epoch(5, 2)), Ok(()));
    assert_eq!(held.hear(&epoch(4, 1), A), Heard::Stale);
}

#[test]
fn a_conflict_stops_both_until_a_higher_epoch() {
    let mut held = lineage(4, A);
    assert_eq!(held.hear(&epoch(4, 2), B), Heard::Conflict);
    assert_eq!(held.may_write(A, &epoch(4, 1)), Err(Denied::Conflict { number: 4 }));
    assert_eq!(held.may_start(A, Occasion::Ordered), Err(Denied::Conflict { number: 4 }));
    assert_eq!(held.hear(&epoch(5, 3), A), Heard::Superseded);
    assert_eq!(held.may_start(A, Occasion::Ordered), Ok(()));
}

#[test]
fn a_sealed_machine_starts_only_on_a_durable_refusal() {
    let (mut old, mut new) = (lineage(4, A), lineage(4, A));
    let next = epoch(5, 2);
    let seal = old.seal(A, last(), next).unwrap();
    assert_eq!(old.seal(A, last(), next), Ok(seal));
    assert_eq!(old.may_start(A, Occasion::Ordered), Err(Denied::Sealed { next: 5 }));
    new.refuse(&next).unwrap();
    assert!(new.accept(B, &seal).is_err());
    old.unseal(&next).unwrap();
    assert_eq!(old.may_start(A, Occasion::Ordered), Ok(()));
}

#[test]
fn an_accepted_seal_can_be_refused_no_more() {
    let (mut old, mut new) = (lineage(4, A), lineage(4, A));
    let seal = old.seal(A, last(), epoch(5, 2)).unwrap();
    new.accept(B, &seal).unwrap();
    assert_eq!(new.accept(B, &seal), Ok(()));
    assert_eq!(new.may_start(B, Occasion::Ordered), Ok(()));
    assert!(new.refuse(&seal.next).is_err());
    assert_eq!(old.unseal(&epoch(6, 2)), Err(Denied::WrongSeal { seal: 5, held: 6 }));
}

#[test]
fn a_seal_of_another_lineage_opens_nothing() {
    let mut other = lineage(3, A);
    let seal = lineage(4, A).seal(A, last(), epoch(5, 2)).unwrap();
    assert_eq!(other.accept(B, &seal), Err(Denied::WrongSeal { seal: 4, held: 3 }));
    assert_eq!(lineage(7, A).accept(B, &seal), Err(Denied::Superseded { asked: 5, held: 7 }));
}

#[test]
fn after_a_boot_only_a_fresh_answer_of_the_other_side_lets_a_machine_start() {
    let held = lineage(4, A);
    let boot = |answer| held.may_start(A, Occasion::Boot { nonce: 99, answer });
    assert_eq!(boot(None), Err(Denied::NoWitness));
    let say = |nonce, number| Witness { nonce, epoch: epoch(number, 1) };
    assert_eq!(boot(Some(say(98, 4))), Err(Denied::StaleWitness));
    assert_eq!(boot(Some(say(99, 5))), Err(Denied::Superseded { asked: 4, held: 5 }));
    assert_eq!(boot(Some(say(99, 4))), Ok(()));
}

#[test]
fn a_role_moved_to_another_host_of_the_site_keeps_its_epoch() {
    let mut held = lineage(4, A);
    assert_eq!(held.hear(&epoch(4, 1), B), Heard::Superseded);
    assert_eq!(held.may_write(A, &epoch(4, 1)), Err(Denied::NotOwner { epoch: 4 }));
    assert_eq!(held.may_write(B, &epoch(4, 1)), Ok(()));
}

/// What is so with the rule is not so without it.
#[cfg(feature = "deliberate-bugs")]
fn held_by(bug: Bug, is: impl Fn() -> bool) {
    assert!(is(), "{bug:?}");
    let _planted = bug::plant(bug);
    assert!(!is(), "{bug:?} is not missed");
}

#[cfg(feature = "deliberate-bugs")]
#[test]
fn each_half_of_a_rule_that_is_taken_away_is_missed() {
    let known = [epoch(5, 1), epoch(3, 1)];
    held_by(Bug::IssuesFromAny, || issue(&known, Some(&epoch(3, 1)), 7).is_err());
    held_by(Bug::IssuesAgain, || issue(&known, Some(&epoch(5, 1)), 7) == Ok(epoch(6, 7)));
    held_by(Bug::TakesLower, || lineage(4, A).hear(&epoch(3, 1), B) == Heard::Stale);
    held_by(Bug::TakesTwins, || lineage(4, A).hear(&epoch(4, 2), B) == Heard::Conflict);
    held_by(Bug::LetsLowerWrite, || lineage(4, A).may_write(A, &epoch(3, 1)).is_err());
    let seal = lineage(4, A).seal(A, last(), epoch(5, 2)).unwrap();
    held_by(Bug::AcceptsRefused, || {
        let mut new = lineage(4, A);
        new.refuse(&seal.next).unwrap();
        new.accept(B, &seal).is_err()
    });
    held_by(Bug::AcceptsAnySeal, || lineage(3, A).accept(B, &seal).is_err());
    held_by(Bug::StartsSealed, || {
        let mut old = lineage(4, A);
        old.seal(A, last(), seal.next).unwrap();
        old.may_start(A, Occasion::Ordered).is_err()
    });
    held_by(Bug::AsksNobody, || {
        lineage(4, A).may_start(A, Occasion::Boot { nonce: 1, answer: None }).is_err()
    });
}

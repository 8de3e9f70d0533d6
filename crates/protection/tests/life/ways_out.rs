//! From every state one comes to *protected* or to *disabled*, whatever one side is lost, by
//! orders and by what the side that is left reports.

use std::collections::HashSet;

use farshore_types::{Epoch, HostId};

use crate::{HERE, THERE, Ways, all_lives};
use farshore_protection::{
    Copying, Facts, Input, Life, Operation, Report, Seen, Stage, State,
    bug::{Bug, plant},
};

/// What is seen of a life while a host is lost.
fn seen(life: &Life, lost: Option<HostId>) -> Facts {
    let mut facts = life.example_facts();
    facts.whole_point = life.copying != Copying::Seeding || life.is_away();
    if lost == Some(life.source) {
        facts.source = Seen::lost();
    }
    if lost == Some(life.target) {
        facts.target = Seen::lost();
    }
    facts
}

/// Whether this is where people want to be. An open choice or a machine that runs nowhere is
/// not; an end is, where the machine runs on a host that is not lost or was never brought over.
fn is_out(life: &Life) -> bool {
    matches!(life.state(), State::Protected | State::Disabled)
}

/// Everything that may come next with one host lost.
fn nexts(life: &Life, lost: Option<HostId>, orders: &[Operation]) -> Vec<Life> {
    let facts = seen(life, lost);
    let mut nexts: Vec<Life> =
        orders.iter().filter_map(|operation| life.does(*operation, &facts).ok()).collect();
    for (by_source, event) in life.example_reports() {
        let by = if by_source { life.source } else { life.target };
        if lost != Some(by) && !matches!(event, farshore_protection::Event::Owned { .. }) {
            let input = Input::Report(Report { epoch: life.epoch, event });
            nexts.push(life.step(&input, &facts).unwrap().life);
        }
    }
    nexts
}

/// Whether there is a way out, of at most some dozen steps.
fn has_way_out(life: &Life, lost: Option<HostId>, orders: &[Operation]) -> bool {
    let mut seen = HashSet::new();
    let mut frontier = vec![life.clone()];
    for _ in 0..12 {
        if frontier.iter().any(is_out) {
            return true;
        }
        let mut next = Vec::new();
        for life in frontier.iter().flat_map(|life| nexts(life, lost, orders)) {
            // Versions and epochs rise for ever; the rest decides where one can go.
            let epoch = Epoch { number: 1, token: 1 };
            let key = Life { version: 0, epoch, issued: epoch, ..life.clone() };
            if seen.insert(key) {
                next.push(life);
            }
        }
        frontier = next;
    }
    false
}

fn traps(orders: &[Operation]) -> Vec<String> {
    let mut traps = Vec::new();
    for life in all_lives() {
        for lost in [None, Some(HERE), Some(THERE)] {
            if !has_way_out(&life, lost, orders) {
                traps.push(format!("{} with {lost:?} lost", life.state().name()));
            }
        }
    }
    traps
}

#[test]
fn every_state_has_a_way_out_whatever_side_is_lost() {
    assert_eq!(traps(&Operation::ALL), Vec::<String>::new());
}

#[test]
fn a_seal_without_a_way_out_is_caught() {
    let _planted = plant(Bug::TrapsSealed);
    let found = traps(&Operation::ALL);
    assert!(found.iter().any(|trap| trap.starts_with("sealed")), "{found:?}");
}

/// Without ending protection, the machine comes to run on the side that is left.
#[test]
fn the_machine_comes_to_run_on_the_side_that_is_left() {
    let runs = |life: &Life, left: HostId| {
        let stands = matches!(
            life.stage,
            Stage::Committed | Stage::Replicating | Stage::Reversing { .. } | Stage::FailedOver { .. }
        );
        life.source == left && stands && life.rival.is_none()
    };
    let orders: Vec<Operation> = Operation::ALL
        .into_iter()
        .filter(|op| !matches!(op, Operation::Disable | Operation::Enable))
        .collect();
    for life in all_lives().filter(|life| life.state() != State::Disabled) {
        for (lost, left) in [(HERE, THERE), (THERE, HERE)] {
            let nothing_there = life.target == left && !seen(&life, Some(lost)).whole_point;
            let mut frontier = vec![life.clone()];
            let mut found = nothing_there || runs(&life, left);
            for _ in 0..4 {
                found |= frontier.iter().any(|life| runs(life, left));
                if found {
                    break;
                }
                frontier = frontier.iter().flat_map(|life| declared(life, lost, left, &orders)).collect();
                let mut once = HashSet::new();
                frontier.retain(|life| once.insert(Life { version: 0, ..life.clone() }));
            }
            assert!(found, "{life:?} with {lost} lost");
        }
    }
}

/// As `nexts`; who is left is declared the winner.
fn declared(life: &Life, lost: HostId, left: HostId, orders: &[Operation]) -> Vec<Life> {
    let mut next = nexts(life, Some(lost), orders);
    let mut order = life.example_order(Operation::DeclareWinner, 31);
    order.winner = Some(left);
    next.extend(life.order_now(order, &seen(life, Some(lost))).map(|step| step.life));
    next
}

//! Every operation has an answer in every state, whatever is seen, and the answer is kept.

use crate::{Ways, all_facts, all_lives};
use farshore_protection::{
    Answer, Facts, Life, Operation, State,
    bug::{Bug, plant},
};

/// What is wrong with an answer, if anything is.
fn fault(life: &Life, facts: &Facts, operation: Operation, answer: &Answer) -> Option<String> {
    let at = || format!("{} in {}: {answer:?}", operation.name(), life.state().name());
    if let Some(reason) = answer.reason() {
        let told = [&reason.code, &reason.what, &reason.advice].iter().all(|text| !text.is_empty());
        if !told || reason.what.ends_with('.') {
            return Some(format!("says nothing: {}", at()));
        }
    }
    let mut order = life.example_order(operation, 5);
    let done = life.order_now(order.clone(), facts);
    match (answer, done) {
        (Answer::Allowed { confirm }, Ok(step)) => {
            if &step.life == life && step.begins.is_none() {
                return Some(format!("does nothing: {}", at()));
            }
            order.confirmed.clear();
            let refused = life.order_now(order, facts).err().map(|reason| reason.code);
            let wanted = confirm.first().map(|confirm| format!("confirm-{}", confirm.name()));
            (refused != wanted).then(|| format!("wants other confirmation: {}", at()))
        }
        (Answer::Already(reason) | Answer::Refused(reason), Err(told)) if *reason == told => None,
        (_, done) => Some(format!("does otherwise: {} {:?}", at(), done.err())),
    }
}

fn faults() -> Vec<String> {
    let mut faults = Vec::new();
    for life in all_lives() {
        for facts in all_facts(&life) {
            let answers = life.allowed_operations(&facts);
            assert_eq!(answers.len(), Operation::ALL.len());
            faults.extend(answers.iter().filter_map(|(op, answer)| fault(&life, &facts, *op, answer)));
        }
    }
    faults
}

#[test]
fn every_operation_has_an_answer_in_every_state_and_the_step_keeps_to_it() {
    assert_eq!(faults(), Vec::<String>::new());
}

#[test]
fn an_answer_that_says_nothing_is_caught() {
    let _planted = plant(Bug::SaysNothing);
    assert!(faults().iter().all(|fault| fault.starts_with("says nothing")) && !faults().is_empty());
}

#[test]
fn there_is_an_example_of_every_state_and_each_of_its_names_is_its_own() {
    for state in State::ALL {
        assert_eq!(Life::example(state).state(), state);
    }
    let names: std::collections::BTreeSet<_> = Operation::ALL.map(Operation::name).into();
    assert_eq!(names.len(), Operation::ALL.len());
}

/// Wherever the target holds one whole point and is there, and nobody contests the owner.
fn unplanned_is_refused_somewhere() -> Option<String> {
    all_lives().filter(|life| life.rival.is_none() && life.state() != State::Disabled).find_map(|life| {
        let facts = Facts { whole_point: true, ..life.example_facts() };
        let lost = Facts { source: farshore_protection::Seen::lost(), ..facts.clone() };
        let answer = [facts, lost].map(|facts| life.judge(&facts, Operation::UnplannedFailover));
        answer
            .iter()
            .any(|answer| !answer.is_allowed())
            .then(|| format!("{}: {answer:?}", life.state().name()))
    })
}

#[test]
fn unplanned_failover_is_allowed_wherever_the_target_holds_one_whole_point() {
    assert_eq!(unplanned_is_refused_somewhere(), None);
}

#[test]
fn an_unplanned_failover_that_waits_for_a_resync_is_caught() {
    let _planted = plant(Bug::WaitsForResync);
    assert!(unplanned_is_refused_somewhere().unwrap().starts_with("resynchronizing"));
}

#[test]
fn a_life_survives_its_text() {
    for life in all_lives() {
        let text = serde_json::to_string(&life).unwrap();
        assert_eq!(serde_json::from_str::<Life>(&text).unwrap(), life);
    }
}

//! Single stories, told step by step.

use farshore_types::JobId;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::sample::{DEADLINE_MS, Play, registry};
use crate::{
    Effect, Ending, Event, FORMAT, Job, JobError, Outcome, Phase, Progress, RESEND_MS, Retry, State,
};

#[test]
fn a_job_goes_through_its_tree_in_order_and_succeeds() {
    let mut play = Play::of("sample");
    assert_eq!(play.asked(), ["check"]);
    play.done("check");
    assert_eq!(play.asked(), ["place-0", "place-1"], "in parallel");
    play.done("place-1");
    assert!(play.asked().is_empty());
    assert_eq!(play.job.node("places").unwrap().state, State::Running);
    play.done("place-0");
    assert_eq!(play.job.node("places").unwrap().state, State::Done);
    assert!(play.asked().is_empty(), "a person is waited for");
    play.answer("ask", true);
    assert_eq!(play.job.wakes_at(), Some(play.now + 5_000));
    play.later(4_999);
    assert!(play.asked().is_empty());
    play.later(1);
    assert_eq!(play.asked(), ["tell"]);
    play.done("tell");
    play.done("last");
    let end = play.job.end.clone().unwrap();
    assert_eq!((end.ending, end.cause, end.left.len()), (Ending::Succeeded, None, 0));
    assert_eq!((play.job.permille(), play.job.wakes_at()), (1000, None));
}

#[test]
fn a_step_gets_what_earlier_ones_came_to_and_the_same_when_asked_again() {
    let mut play = Play::of("sample");
    play.done("check");
    let asked = play.effects.clone();
    let wanted = json!({ "do": "place-0", "seen": { "of": "check" }, "for": 2 });
    assert!(asked.iter().any(|e| matches!(e, Effect::Do { action, .. } if *action == wanted)));
    play.event(&Event::Resumed);
    let only_do = |effects: &[Effect]| -> Vec<Effect> {
        effects.iter().filter(|e| matches!(e, Effect::Do { .. })).cloned().collect()
    };
    assert_eq!(only_do(&play.effects), only_do(&asked), "same ids, same actions");
}

#[test]
fn a_failure_that_may_heal_is_tried_again_later_by_a_new_id() {
    let mut play = Play::of("sample");
    let first = play.id("check");
    play.fails("check", true);
    assert!(play.asked().is_empty());
    assert_eq!(play.job.node("check").unwrap().state, State::Retrying);
    play.later(999);
    assert!(play.asked().is_empty());
    play.later(1);
    assert_eq!(play.asked(), ["check"]);
    assert_eq!((first.attempt, play.id("check").attempt), (1, 2));
    assert_ne!(first.request(), play.id("check").request());
    // The first one's outcome comes late, and means nothing now.
    play.event(&Event::Ended { id: first, outcome: Outcome::Done { result: json!(1) } });
    assert_eq!(play.job.node("check").unwrap().state, State::Running);
    assert_eq!(play.effects, [Effect::Forget { id: first }]);
}

#[test]
fn who_looks_by_himself_finds_what_is_waited_for_and_is_woken_by_time_alone() {
    let mut play = Play::of("sample");
    let waited = |play: &Play| play.job.outstanding().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(waited(&play), [play.id("check")]);
    assert_eq!(play.job.due_at(), Some(100 + DEADLINE_MS), "not for asking again");
    assert_eq!(play.job.wakes_at(), Some(100 + RESEND_MS));
    play.fails("check", true);
    assert!(waited(&play).is_empty(), "it waits for its next attempt");
    assert_eq!(play.job.due_at(), Some(play.now + 1000));
    play.later(1000);
    assert_eq!(waited(&play), [play.id("check")]);
    let (part, other) = (play.id("check").request_part(1), play.id("check").request_part(2));
    assert!(part != other && part != play.id("check").request());
}

#[test]
fn what_was_done_is_undone_from_the_last_on_and_the_cause_is_told() {
    let mut play = Play::of("sample");
    play.done("check");
    play.done("place-0");
    play.done("place-1");
    play.answer("ask", false);
    assert_eq!(play.job.phase, Phase::Backward);
    assert_eq!(play.asked(), ["place-1"], "one at a time");
    play.done("place-1");
    assert_eq!(play.asked(), ["place-0"]);
    play.done("place-0");
    let end = play.job.end.clone().unwrap();
    assert_eq!(end.ending, Ending::Failed);
    assert_eq!(end.cause.unwrap().what, "Somebody looks: ann says that it was not done: fine");
    let left: Vec<_> = end.left.iter().map(|left| (left.step.as_str(), left.safe)).collect();
    assert_eq!(left, [("check", true)]);
    assert_eq!(play.job.node("place-0").unwrap().state, State::Undone);
}

#[test]
fn a_silent_effect_is_asked_for_again_and_given_up_at_its_deadline_and_undone_all_the_same() {
    let mut play = Play::of("no-return");
    let id = play.id("first");
    play.later(RESEND_MS);
    assert_eq!((play.asked(), play.id("first")), (vec!["first".to_owned()], id));
    play.now = 100 + DEADLINE_MS;
    play.event(&Event::Tick);
    assert_eq!(play.effects[0], Effect::Stop { id });
    assert_eq!(play.asked(), ["first"], "to be taken back");
    play.done("first");
    assert_eq!(play.job.end.as_ref().unwrap().ending, Ending::Failed);
}

#[test]
fn what_cannot_be_undone_is_named_with_what_stood_before_it() {
    let mut play = Play::of("no-return");
    play.done("first");
    play.done("start");
    play.fails("after", false);
    play.fails("start", false);
    let end = play.job.end.clone().unwrap();
    let left: Vec<_> = end.left.iter().map(|left| (left.step.as_str(), left.safe)).collect();
    assert_eq!(left, [("first", false), ("start", false)]);
    assert!(end.left[0].why.contains("'start', which came after it"));
    assert_eq!(end.left[1].why, "no space");
}

#[test]
fn a_step_whose_failure_does_not_matter_lets_the_job_succeed_in_part() {
    let mut play = Play::of("sample");
    play.done("check");
    play.done("place-0");
    play.done("place-1");
    play.answer("ask", true);
    play.later(5_000);
    play.fails("tell", false);
    assert_eq!(play.asked(), ["last"]);
    play.done("last");
    let end = play.job.end.clone().unwrap();
    assert_eq!((end.ending, end.cause.unwrap().what.as_str()), (Ending::Partly, "Tell: no space"));
}

#[test]
fn cancelling_waits_for_what_runs_and_undoes_it() {
    let mut play = Play::of("sample");
    play.done("check");
    play.event(&Event::Cancel { by: "ann".to_owned() });
    assert!(play.effects.is_empty());
    play.done("place-0");
    assert!(play.asked().is_empty(), "the other one still runs");
    play.fails("place-1", true);
    assert_eq!(play.asked(), ["place-0"], "not tried again: taken back");
    play.done("place-0");
    assert_eq!(play.job.end.as_ref().unwrap().ending, Ending::Cancelled);
    assert_eq!(play.try_event(&Event::Cancel { by: "bob".to_owned() }), Err(JobError::HasEnded));
}

#[test]
fn a_step_that_may_be_stopped_is_asked_to_stop_at_once() {
    let mut play = Play::of("sample");
    let id = play.id("check");
    play.event(&Event::Cancel { by: "ann".to_owned() });
    assert_eq!(play.effects, [Effect::Stop { id }]);
    play.ends("check", Outcome::Expired);
    assert_eq!(play.job.end.as_ref().unwrap().ending, Ending::Cancelled);
}

#[test]
fn from_the_point_of_no_return_on_nobody_cancels() {
    let mut play = Play::of("no-return");
    play.done("first");
    let told = play.try_event(&Event::Cancel { by: "ann".to_owned() }).unwrap_err();
    assert!(told.to_string().contains("'start' began: the machine runs on the other side"), "{told}");
    play.done("start");
    assert!(play.try_event(&Event::Cancel { by: "ann".to_owned() }).is_err(), "nor after it");
    assert!(play.job.cancel.is_none());
}

#[test]
fn progress_is_shown_and_decides_nothing() {
    let mut play = Play::of("sample");
    let id = play.id("check");
    play.event(&Event::Progress { id, progress: Progress { done: 50, total: 100 } });
    assert_eq!(play.job.permille(), 500 / 7);
    assert_eq!(play.job.node("check").unwrap().state, State::Running);
    assert_eq!(Progress { done: 5, total: 0 }.permille(), None);
    assert_eq!(Progress { done: u64::MAX, total: 1 }.permille(), Some(1000));
}

#[test]
fn a_clock_that_was_set_back_makes_nothing_wait_for_as_long() {
    let mut play = Play::of("sample");
    play.fails("check", true);
    play.now = 0;
    play.event(&Event::Tick);
    play.later(Retry::default().most_ms);
    assert_eq!(play.asked(), ["check"]);
}

#[test]
fn what_is_wrong_is_named() {
    let registry = registry();
    let id = JobId(Uuid::nil());
    let make = |kind: &str, machines: u64| registry.make(kind, id, json!({ "machines": machines }), 0);
    assert_eq!(make("other", 1), Err(JobError::UnknownKind { kind: "other".to_owned() }));
    assert!(make("sample", 0).unwrap_err().to_string().contains("1 to 100"));
    let job = make("sample", 1).unwrap();
    let answer = Event::Answer { step: "ask".to_owned(), by: String::new(), done: true, note: String::new() };
    assert_eq!(registry.advance(&job, &answer, 0), Err(JobError::NotWaiting { step: "ask".to_owned() }));
    let newer = serde_json::to_string(&Job { format: FORMAT + 1, ..job }).unwrap();
    assert_eq!(Job::parse(&newer), Err(JobError::Newer { format: FORMAT + 1 }));
    assert!(matches!(Job::parse("{"), Err(JobError::Unreadable { .. })));
}

#[test]
fn an_effects_id_is_a_valid_request_id_and_stays_the_same() {
    let play = Play::of("sample");
    let id = play.id("check");
    assert_eq!(id.to_string(), "00000000-0000-0000-0000-000000000001/0/do/1");
    assert_eq!(id.request(), id.request());
    assert_eq!(id.request().0.get_version_num(), 8);
    assert_eq!(play.job.effect_of(id.request()), Some(id));
    let mut play = play;
    play.fails("check", true);
    play.later(1000);
    let second = play.id("check");
    assert_eq!(play.job.issued().collect::<Vec<_>>(), [id, second]);
    assert_eq!(play.job.effect_of(id.request()), Some(id), "of a former attempt, too: it is to be forgotten");
}

proptest! {
    #[test]
    fn waits_between_attempts_grow_and_stay_bounded(attempts in 0u32..200, first in 1u64..10_000, more in 0u64..1_000_000) {
        let retry = Retry { attempts: 9, first_ms: first, most_ms: first + more };
        let wait = retry.backoff_ms(attempts);
        prop_assert!((first..=first + more).contains(&wait));
        prop_assert!(retry.backoff_ms(attempts + 1) >= wait);
    }
}

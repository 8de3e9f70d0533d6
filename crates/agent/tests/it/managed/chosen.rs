//! The point at which an unplanned failover brings a machine up: the one that is meant, and nothing
//! older than what was shown to who accepted the loss.

use farshore_control::HostReport;
use farshore_hypervisor::{Hypervisor, PowerState, Problem, simulated::Operation as Call};
use farshore_protection::{Choice, Confirm, Facts, Input, Life, Operation, Order, Overlay, Stage};
use farshore_types::PointId;

use super::{
    handing::{ordered, standing},
    killed::{A_WHILE, failed_over as is_failed_over, tell},
    world::Pair,
};

/// The life, failed over to what is chosen.
fn failed_over(life: &Life, choice: Choice) -> Life {
    let mut over = ordered(life, Operation::UnplannedFailover, false);
    let Stage::BringingUp(up) = &mut over.stage else { panic!("{over:?}") };
    up.point = choice;
    over
}

/// The point at which it comes up.
async fn came_up(pair: &Pair) -> Option<PointId> {
    let machine = pair.machine;
    let up = |report: &HostReport| {
        standing(report, machine).filter(|s| s.runs == Some(true)).and_then(|s| s.brought_up)
    };
    let report = pair.vault.until(pair.target_id, "it to run", |report| up(report).is_some()).await;
    up(&report).unwrap().at
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_application_consistent_point_is_started_though_newer_ones_are_there() {
    let pair = Pair::new().await;
    pair.source_host.set_guest_agent(pair.machine, true).unwrap();
    let life = super::handing::replicating(&pair);
    pair.enable_with(|protection| {
        protection.settings.app_consistent_secs = Some(3600);
        protection.life = Some(life.clone());
    });
    let frozen = |report: &HostReport| report.replicas.first().and_then(|r| r.newest_application);
    let report = pair.vault.until(pair.target_id, "one", |report| frozen(report).is_some()).await;
    let point = frozen(&report).unwrap().id;
    pair.newest_above(point.number).await;
    pair.tell(&failed_over(&life, Choice::LatestApplication));
    assert_eq!(came_up(&pair).await, Some(point));
    assert!(pair.newest().await > point.number);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_older_is_started_than_what_was_shown_to_who_accepted_the_loss() {
    let pair = Pair::new().await;
    let life = pair.living().await;
    // Somebody was shown a point of which there is nothing any more.
    let newest = pair.vault.report_of(pair.target_id).await.replicas[0].newest.unwrap().id;
    let shown = PointId { number: newest.number + 1000, ..newest };
    pair.tell(&failed_over(&life, Choice::NotBefore(shown)));
    let told = |report: &HostReport| {
        let cannot = standing(report, pair.machine).and_then(|s| s.cannot.clone());
        cannot.is_some_and(|problem| problem.what.contains(&shown.to_string()))
    };
    pair.vault.until(pair.target_id, "that more would be lost", told).await;
    assert!(pair.target_host().machine(pair.machine).await.is_err(), "nothing of it is there");
    // With what there is, whoever accepts that.
    let mut over = failed_over(&life, Choice::NotBefore(newest));
    over.ups += 1;
    pair.change(|protection| {
        std::mem::swap(&mut protection.source, &mut protection.target);
        (protection.epoch, protection.life) = (over.epoch, Some(over.clone()));
    });
    assert!(came_up(&pair).await.unwrap() >= newest);
    pair.end().await;
}

/// The life, brought up at another choice.
fn changed(life: &Life, point: Choice, overlay: Overlay) -> Life {
    let confirmed = [Confirm::DataLoss].into();
    let order = Order {
        confirmed,
        seen: Some(life.version),
        point,
        overlay,
        ..Order::new(Operation::ChangePoint, 33)
    };
    life.step(&Input::Order(Box::new(order)), &Facts::well()).unwrap().life
}

/// Told; the point at which it is up by that order then. It was not stopped since `stops`.
async fn goes_on_by(pair: &Pair, order: &Life, stops: u64) -> Option<PointId> {
    tell(pair, order);
    let up = |report: &HostReport| {
        standing(report, pair.machine).and_then(|s| s.brought_up).filter(|up| up.order == order.ups)
    };
    let report = pair.vault.until(pair.target_id, "it to be done", |report| up(report).is_some()).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(pair.power_of(pair.target_id).await, Some(PowerState::Running));
    assert_eq!(pair.target_host().calls(Call::Destroy), stops, "what its users wrote is not put aside");
    up(&report).unwrap().at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_comes_to_the_point_at_which_it_runs_changes_nothing() {
    let pair = Pair::new().await;
    let (life, at) = is_failed_over(&pair).await;
    let stops = pair.target_host().calls(Call::Destroy);
    let latest = changed(&life, Choice::Latest, Overlay::Fresh);
    assert_eq!(goes_on_by(&pair, &latest, stops).await, Some(at));
    // Who names it, while it is not known where it runs, means it.
    let named = changed(&latest, Choice::At(at), Overlay::Fresh);
    tell(&pair, &named);
    let up = |report: &HostReport| {
        standing(report, pair.machine).and_then(|s| s.brought_up).is_some_and(|up| up.order == named.ups)
    };
    pair.vault.until(pair.target_id, "it to be up anew", up).await;
    assert_eq!(pair.target_host().calls(Call::Destroy), stops + 1);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_not_stopped_for_a_point_at_which_it_could_not_start() {
    let pair = Pair::new().await;
    let (life, at) = is_failed_over(&pair).await;
    let stops = pair.target_host().calls(Call::Destroy);
    let (what, advice) = ("there is no network 'lan'".to_owned(), "make it".to_owned());
    pair.target_host().set_start_problems(vec![Problem { what, advice }]);
    let other = changed(&life, Choice::At(PointId { number: at.number - 1, ..at }), Overlay::Fresh);
    tell(&pair, &other);
    let told = |report: &HostReport| {
        let cannot = standing(report, pair.machine).and_then(|s| s.cannot.clone());
        cannot.is_some_and(|problem| {
            let runs_on = problem.what.contains(&format!("runs on at point {at}"));
            runs_on && problem.what.contains("no network 'lan'") && problem.advice.contains("--as-left")
        })
    };
    let report = pair.vault.until(pair.target_id, "that it cannot", told).await;
    assert_eq!(standing(&report, pair.machine).unwrap().runs, Some(true));
    // What is advised then leaves it as it is.
    let back = changed(&other, Choice::At(at), Overlay::AsLeft);
    assert_eq!(goes_on_by(&pair, &back, stops).await, Some(at));
    pair.end().await;
}

//! Break-glass under a vault: a machine that a person brings up by the agent's own command while
//! nobody above says so. Simulated hypervisors.

use std::time::Duration;

use farshore_agent::{
    AgentError,
    control::{BringUp, PointChoice, Reply, Request, StartChoice},
};
use farshore_control::{HostReport, Key, ownership::Lineage};
use farshore_hypervisor::{Hypervisor, PowerState, simulated::Operation as Call};
use farshore_protection::{Event, Life, Operation};
use farshore_types::PointId;

use super::{
    handing::{lineage, ordered, standing},
    killed::{A_WHILE, failed_over, hears, tell},
    world::Pair,
};
use crate::world::text;

fn bring_up(point: PointChoice, force: bool) -> Request {
    let (machine, start) = ("web1".to_owned(), StartChoice::Run);
    Request::BringUp(BringUp { machine, point, start, replace: force, force })
}

fn is_up(reply: &Result<Reply, AgentError>) -> bool {
    matches!(reply, Ok(Reply::BroughtUp(up)) if up.power == "running")
}

/// What a host holds of the machine's owner, once it is so.
async fn holds(pair: &Pair, at_source: bool, what: &str, wanted: impl Fn(&Lineage) -> bool) -> Lineage {
    let host = if at_source { pair.source_id } else { pair.target_id };
    let held = |report: &HostReport| lineage(report, pair.machine).is_some_and(&wanted);
    lineage(&pair.vault.until(host, what, held).await, pair.machine).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_host_is_told_before_anything_starts_and_starts_no_more_what_it_had_stopped() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    // It is shut down for a move, and its last cycle cannot begin.
    let gate = pair.source_host.hold(Call::Start);
    let over = ordered(&life, Operation::PlannedFailover, false);
    pair.tell(&over);
    while !pair.power_of(pair.source_id).await.is_some_and(|power| power.is_off()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The person's host has heard of the move, too.
    let version = pair.vault.document(&Key::Protection(machine)).map(|document| document.version);
    let heard = |report: &HostReport| standing(report, machine).is_some_and(|s| s.document == version);
    pair.vault.until(pair.target_id, "it to have heard", heard).await;
    let reply = pair.ask_target(bring_up(PointChoice::Latest, false)).await;
    assert!(is_up(&reply), "{reply:?}");
    let there = holds(&pair, true, "the source to know", |held| held.owner == pair.target_id).await;
    assert!(there.epoch.number > over.issued.number, "the move's own epoch has been issued already");
    // Nobody tells it that the move is still wanted: unsealed, it would run again by itself.
    pair.vault.set_clock(None);
    drop(gate);
    pair.restart_source().await;
    tokio::time::sleep(A_WHILE).await;
    assert_ne!(pair.power_of(pair.source_id).await, Some(PowerState::Running));
    // What a person stops is not started again.
    pair.target_host().destroy(machine).await.unwrap();
    tokio::time::sleep(A_WHILE).await;
    assert!(pair.power_of(pair.target_id).await.unwrap().is_off());
    let reply = pair.ask_target(bring_up(PointChoice::Latest, false)).await;
    assert!(is_up(&reply), "it is this host's, and ran here last: {reply:?}");
    let held = holds(&pair, false, "one owner", |held| held.owner == pair.target_id).await;
    assert_eq!(held.epoch, there.epoch, "no other epoch was issued for that");
    pair.end().await;
}

/// Failed over, and back to where it was: the target's overlays stay as they were left.
async fn fenced_at_the_target(pair: &Pair) -> Life {
    let (life, _) = failed_over(pair).await;
    let machine = pair.machine;
    let off = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(false));
    // Until then it tells that it runs: that is not to be taken for its being home again.
    pair.vault.until(pair.source_id, "its copy to be stopped", off).await;
    let back = ordered(&life, Operation::UnplannedFailover, false);
    tell(pair, &back);
    let runs = |report: &HostReport| standing(report, machine).is_some_and(|s| s.runs == Some(true));
    pair.vault.until(pair.source_id, "it to run at home", runs).await;
    pair.vault.until(pair.target_id, "the target to be fenced", off).await;
    let life = hears(&back, Event::Runs { at: None });
    tell(pair, &life);
    life
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_brought_up_here_once_and_is_another_hosts_now_is_not_started_beside_it() {
    let pair = Pair::new().await;
    let life = fenced_at_the_target(&pair).await;
    let error = text(pair.ask_target(bring_up(PointChoice::Latest, false)).await);
    assert!(error.contains("running on host source") && error.contains("--force"), "{error}");
    assert!(pair.power_of(pair.target_id).await.unwrap().is_off());
    let held = holds(&pair, false, "its owner", |_| true).await;
    assert_eq!((held.epoch, held.owner), (life.epoch, pair.source_id), "nothing was changed");
    // By force it is, and both know.
    let reply = pair.ask_target(bring_up(PointChoice::Latest, true)).await;
    assert!(is_up(&reply), "{reply:?}");
    let taken = |held: &Lineage| held.owner == pair.target_id && held.epoch.number > life.epoch.number;
    let here = holds(&pair, false, "it to be taken", taken).await;
    let there = holds(&pair, true, "the source to know", taken).await;
    assert_eq!(here.epoch, there.epoch);
    assert_eq!(pair.power_of(pair.source_id).await, Some(PowerState::Running), "stopped by nobody");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_other_host_is_silent_nothing_changes_unless_it_is_forced() {
    let pair = Pair::new().await;
    pair.living().await;
    pair.stop_source().await;
    let error = text(pair.ask_target(bring_up(PointChoice::Latest, false)).await);
    assert!(error.contains("does not say") && error.contains("--force"), "{error}");
    assert!(pair.power_of(pair.target_id).await.is_none(), "nothing was defined");
    assert_eq!(holds(&pair, false, "its owner", |_| true).await.epoch.number, 1);
    let reply = pair.ask_target(bring_up(PointChoice::Latest, true)).await;
    assert!(is_up(&reply), "{reply:?}");
    holds(&pair, false, "it to be taken", |held| held.owner == pair.target_id).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_brought_up_at_another_point_is_not_taken_back_by_the_order_of_before() {
    let pair = Pair::new().await;
    let machine = pair.machine;
    let life = pair.living().await;
    pair.newest_above(pair.newest().await).await;
    let order = ordered(&life, Operation::UnplannedFailover, false);
    tell(&pair, &order);
    let up = |report: &HostReport| standing(report, machine).is_some_and(|s| s.brought_up.is_some());
    let report = pair.vault.until(pair.target_id, "it to run there", up).await;
    let at = standing(&report, machine).unwrap().brought_up.unwrap().at.unwrap();
    // The vault is lost before it has heard of that, and a person wants an earlier point.
    let other = PointId { number: at.number - 1, ..at };
    let reply = pair.ask_target(bring_up(PointChoice::At(other), true)).await;
    assert!(is_up(&reply), "{reply:?}");
    let higher = |held: &Lineage| held.epoch.number > order.epoch.number;
    let held = holds(&pair, false, "its epoch", higher).await;
    let stops = pair.target_host().calls(Call::Destroy);
    // The vault adopts the epoch; what it had ordered is still under way for it.
    tell(&pair, &Life { epoch: held.epoch, issued: held.epoch, ..order.clone() });
    let told = |report: &HostReport| {
        let up = standing(report, machine).and_then(|s| s.brought_up);
        up.is_some_and(|up| up.epoch == held.epoch && up.order == order.ups && up.at == Some(other))
    };
    pair.vault.until(pair.target_id, "what it runs at", told).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(pair.target_host().calls(Call::Destroy), stops);
    assert_eq!(pair.power_of(pair.target_id).await, Some(PowerState::Running));
    pair.end().await;
}

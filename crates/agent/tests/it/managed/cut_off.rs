//! A copy that runs on without any network, for another host owns its machine: what becomes of it
//! when the machine is its host's again. This module must never know how cables are pulled.

use farshore_hypervisor::simulated::Operation as Call;
use farshore_protection::{Choice, Operation, State, fence::Fence};
use farshore_types::HostId;

use super::{desk::Desk, mortal::Mortal, world::Pair};

async fn pair() -> Pair {
    Pair::of_mortals_with([Mortal::until([]), Mortal::until([])], |config| config.fence = Fence::Isolate)
        .await
}

fn is_cut_off(pair: &Pair, host: HostId) -> bool {
    pair.host(host).is_unplugged(pair.machine).unwrap()
}

async fn until_cut_off(desk: &mut Desk<'_>, host: HostId) {
    desk.until("its copy to be cut off", async |desk| is_cut_off(desk.pair, host)).await;
    assert!(desk.runs_on(host).await, "nobody stops it");
}

/// Failed over, while the copy at home runs on, cut off.
async fn failed_over(pair: &Pair) -> Desk<'_> {
    let mut desk = Desk::protected(pair).await;
    desk.twice = true;
    desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
    desk.comes_to(State::FailedOver).await;
    until_cut_off(&mut desk, pair.source_id).await;
    desk
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_to_a_copy_that_was_cut_off_has_its_network_and_is_replicated() {
    let pair = pair().await;
    let mut desk = failed_over(&pair).await;
    let written = desk.writes(pair.source_id).await;
    desk.stops_on(pair.source_id);
    desk.orders(Operation::Cancel, Choice::Latest).await;
    desk.comes_to(State::Protected).await;
    assert_eq!(desk.life.source, pair.source_id);
    assert!(!is_cut_off(&pair, pair.source_id), "its users reach it");
    assert_eq!(pair.disks_at(pair.source_id), Some(written), "as it was left");
    assert_eq!(desk.stops_on(pair.source_id), 1);
    desk.twice = false;
    desk.writes_and_is_heard().await;
    desk.ends().await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_failed_over_to_a_copy_that_was_cut_off_has_its_network() {
    let pair = pair().await;
    let mut desk = failed_over(&pair).await;
    // To its own disks, as they were left; and to overlays.
    for (to, other) in [(pair.source_id, pair.target_id), (pair.target_id, pair.source_id)] {
        desk.orders(Operation::UnplannedFailover, Choice::Latest).await;
        desk.comes_to(State::FailedOver).await;
        assert_eq!(desk.life.source, to);
        assert!(!is_cut_off(&pair, to), "its users reach it");
        until_cut_off(&mut desk, other).await;
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_cut_off_and_that_an_agent_stopped_before_it_died_is_started() {
    let pair = pair().await;
    let mut desk = failed_over(&pair).await;
    let gate = pair.source_host.hold(Call::Start);
    desk.orders(Operation::Cancel, Choice::Latest).await;
    desk.until("it to be stopped", async |desk| {
        !desk.runs_on(pair.source_id).await && pair.source_host.calls(Call::Start) > 1
    })
    .await;
    pair.stop_source().await;
    drop(gate);
    pair.start_source();
    desk.comes_to(State::Protected).await;
    assert!(desk.life.source == pair.source_id && !is_cut_off(&pair, pair.source_id));
    pair.end().await;
}

//! Addresses that networks keep for a guest's cards, ahead of any failover, and recovery points that
//! the vault asks for.

use farshore_control::{
    CardAddress, HostReport,
    request::{Action, Answer, Ending, PointFacts},
    standing::AddressStanding,
};
use farshore_hypervisor::{Hypervisor, simulated::Operation as Call};
use farshore_protection::Operation;
use farshore_types::Consistency;

use super::{
    handing::{ordered, replicating, standing},
    vault::PATIENCE,
    world::Pair,
};

const CARD: &str = "52:54:00:00:00:01";

/// A protected machine with a card in network `lan`, which is `far` at the target.
async fn with_card() -> Pair {
    let pair = Pair::new().await;
    let found = pair.source_host.machine(pair.machine).await.unwrap();
    let card = format!(
        "<interface type='network'><mac address='{CARD}'/><source network='lan'/></interface></devices>"
    );
    pair.source_host.define(&found.definition.replace("</devices>", &card)).await.unwrap();
    pair.living().await;
    pair
}

fn wants(pair: &Pair, home: &str, away: &str) {
    let (card, home, away) = (CARD.to_owned(), home.parse().ok(), away.parse().ok());
    pair.change(|protection| {
        protection.networks = [("lan".to_owned(), "far".to_owned())].into();
        protection.addresses = vec![CardAddress { card, home, away }];
        protection.addresses.retain(|one| one.home.is_some() || one.away.is_some());
    });
}

fn told(pair: &Pair, report: &HostReport) -> Vec<AddressStanding> {
    standing(report, pair.machine).map(|standing| standing.addresses.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_side_keeps_its_address_before_any_failover_and_lets_it_go_with_the_protection() {
    let pair = with_card().await;
    pair.source_host.add_network_with_addresses("lan");
    pair.target_host().add_network_with_addresses("far");
    wants(&pair, "10.0.0.5", "10.1.0.5");
    for (host, network) in [(pair.source_id, "lan"), (pair.target_id, "far")] {
        let reserved = |report: &HostReport| {
            told(&pair, report).iter().any(|one| one.reserved_in.as_deref() == Some(network))
        };
        pair.vault.until(host, "it is reserved", reserved).await;
    }
    assert_eq!(pair.source_host.address_of("lan", CARD), "10.0.0.5".parse().ok());
    assert_eq!(pair.target_host().address_of("far", CARD), "10.1.0.5".parse().ok());
    // Another address takes the place of the one before; a restart forgets nothing.
    pair.restart_target().await;
    wants(&pair, "10.0.0.5", "10.1.0.6");
    let other =
        |report: &HostReport| told(&pair, report).iter().any(|one| one.address.to_string() == "10.1.0.6");
    pair.vault.until(pair.target_id, "the other one is", other).await;
    assert_eq!(pair.target_host().address_of("far", CARD), "10.1.0.6".parse().ok());
    wants(&pair, "10.0.0.5", "");
    let none = |report: &HostReport| told(&pair, report).is_empty();
    pair.vault.until(pair.target_id, "nothing is wanted there", none).await;
    assert_eq!(pair.target_host().address_of("far", CARD), None);
    pair.remove("disabled");
    let begun = std::time::Instant::now();
    while pair.source_host.address_of("lan", CARD).is_some() {
        assert!(begun.elapsed() < PATIENCE, "it goes with the protection");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reserved_is_said_with_what_to_do() {
    let pair = with_card().await;
    pair.target_host().create_network("far").await.unwrap();
    wants(&pair, "10.0.0.5", "10.1.0.5");
    let by_hand = |text: &'static str| {
        let pair = &pair;
        move |report: &HostReport| {
            let told = told(pair, report);
            told.iter().any(|one| one.by_hand.as_ref().is_some_and(|problem| problem.what.contains(text)))
        }
    };
    pair.vault.until(pair.source_id, "no such network", by_hand("no network 'lan'")).await;
    pair.vault.until(pair.target_id, "no addresses", by_hand("gives no addresses")).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_reserved_is_neither_changed_nor_ended() {
    let pair = with_card().await;
    for (host, network) in [(&pair.source_host, "lan"), (pair.target_host(), "far")] {
        host.add_network_with_addresses(network);
    }
    pair.source_host.keep_address("lan", CARD, "10.0.0.7".parse().unwrap());
    pair.target_host().keep_address("far", CARD, "10.1.0.5".parse().unwrap());
    wants(&pair, "10.0.0.5", "10.1.0.5");
    let other = |report: &HostReport| {
        let by_hand = told(&pair, report).first().and_then(|one| one.by_hand.clone());
        by_hand.is_some_and(|problem| problem.what.contains("10.0.0.7") && !problem.advice.is_empty())
    };
    pair.vault.until(pair.source_id, "that another is reserved", other).await;
    let same = |report: &HostReport| told(&pair, report).iter().any(|one| one.reserved_in.is_some());
    pair.vault.until(pair.target_id, "that it is as it should be", same).await;
    pair.remove("disabled");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(pair.source_host.address_of("lan", CARD), "10.0.0.7".parse().ok());
    assert_eq!(pair.target_host().address_of("far", CARD), "10.1.0.5".parse().ok());
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_daemon_that_hangs_keeps_nobody_from_failing_over() {
    let pair = with_card().await;
    pair.target_host().add_network_with_addresses("far");
    let hangs = [&pair.source_host, pair.target_host()].map(|host| host.hold(Call::Networks));
    wants(&pair, "10.0.0.5", "10.1.0.5");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    pair.tell(&ordered(&replicating(&pair), Operation::PlannedFailover, false));
    let runs = |report: &HostReport| {
        let standing = standing(report, pair.machine);
        standing.is_some_and(|standing| standing.runs == Some(true))
    };
    pair.vault.until(pair.target_id, "it to run there", runs).await;
    drop(hangs);
    let reserved = |report: &HostReport| told(&pair, report).iter().any(|one| one.reserved_in.is_some());
    pair.vault.until(pair.target_id, "the address, when that goes again", reserved).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_points_are_told_in_pages_the_newest_first() {
    let pair = Pair::new().await;
    pair.enable();
    let first = pair.newest_above(0).await;
    pair.newest_above(first + 2).await;
    let ask = async |before, application, limit| -> (Vec<PointFacts>, bool) {
        let action = Action::Points { machine: pair.machine, before, application, limit };
        let ending = pair.vault.ending(pair.ask(pair.target_id, None, action)).await;
        let Ending::Done { answer: Answer::Points { points, more } } = ending else { panic!("{ending:?}") };
        (points, more)
    };
    let (two, more) = ask(None, false, 2).await;
    assert_eq!((two.len(), more), (2, true));
    assert!(two[0].id > two[1].id && two[0].age_ms < two[1].age_ms, "{two:?}");
    assert!(two.iter().all(|point| point.consistency == Consistency::Crash));
    let (older, _) = ask(Some(two[1].id), false, 1000).await;
    assert!(older.iter().all(|point| point.id < two[1].id) && !older.is_empty(), "{older:?}");
    assert_eq!(ask(None, true, 10).await, (Vec::new(), false));
    let nobody = Action::Points { machine: pair.machine, before: None, application: false, limit: 1 };
    let ending = pair.vault.ending(pair.ask(pair.source_id, None, nobody)).await;
    assert!(matches!(&ending, Ending::Failed { what, .. } if what.contains("no replica")), "{ending:?}");
    pair.end().await;
}

//! What is left of a protection that is over: who starts the machine with its host, and traces of
//! what was going on beside it.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use farshore_control::HostReport;
use farshore_hypervisor::Hypervisor;
use farshore_protection::{Drill, DrillNetwork, DrillPhase, Life, Operation};
use farshore_types::HostId;

use super::{
    handing::{lineage, ordered, standing},
    vault::PATIENCE,
    world::Pair,
};

/// Long enough for an agent to do what it would do.
const WHILE: Duration = Duration::from_millis(700);

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn starts_with(pair: &Pair, host: HostId) -> bool {
    let host = if host == pair.source_id { &pair.source_host } else { pair.target_host() };
    host.machine(pair.machine).await.is_ok_and(|machine| machine.autostart)
}

/// A protected machine that its host was to start when it boots, as the other host knows.
async fn started_with_its_host(pair: &Pair) -> Life {
    let life = pair.living().await;
    pair.source_host.set_autostart(pair.machine, true).await.unwrap();
    pair.restart_source().await;
    until("that to be ours to say", async || !starts_with(pair, pair.source_id).await).await;
    until("the other host to know", async || pair.kept_at_target().contains("\"autostart\":true")).await;
    life
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_of_a_protection_its_owner_starts_with_its_host_again_and_the_one_that_lost_it_does_not() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, started_with_its_host(&pair).await);
    // Its host is lost, and hears of nothing more before the protection is over.
    pair.stop_source().await;
    pair.source_host.destroy(machine).await.unwrap();
    let over = ordered(&life, Operation::UnplannedFailover, false);
    pair.tell(&over);
    let runs = |report: &HostReport| {
        standing(report, machine).is_some_and(|s| s.runs == Some(true) && s.brought_up.is_some())
    };
    pair.vault.until(pair.target_id, "it to run there", runs).await;
    assert!(!starts_with(&pair, pair.target_id).await, "as long as it is protected, a host asks first");
    pair.remove("disabled");
    until("its owner to start it when it boots", async || starts_with(&pair, pair.target_id).await).await;
    pair.start_source();
    let heard =
        |report: &HostReport| lineage(report, machine).is_some_and(|held| held.owner == pair.target_id);
    pair.vault.until(pair.source_id, "who owns it", heard).await;
    tokio::time::sleep(WHILE).await;
    assert!(!starts_with(&pair, pair.source_id).await, "it is not this host's any more");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_is_certain_of_the_owner_no_host_starts_it_by_itself_and_that_is_said() {
    let pair = Pair::new().await;
    started_with_its_host(&pair).await;
    pair.remove_unowned("disabled");
    let told = |report: &HostReport| report.problems.iter().any(|p| p.code.starts_with("autostart-"));
    pair.vault.until(pair.source_id, "that nobody knows", told).await;
    assert!(!starts_with(&pair, pair.source_id).await);
    // Once it is known, the one gets it, and nobody else.
    pair.remove("disabled");
    until("it to be given back", async || starts_with(&pair, pair.source_id).await).await;
    pair.vault.until(pair.source_id, "nothing of it", |report| !told(report)).await;
    // What is set from then on is their people's, also over another protection.
    pair.source_host.set_autostart(pair.machine, false).await.unwrap();
    pair.enable_with(|protection| protection.life = Some(super::handing::replicating(&pair)));
    tokio::time::sleep(WHILE).await;
    pair.remove("disabled");
    tokio::time::sleep(WHILE).await;
    assert!(!starts_with(&pair, pair.source_id).await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_failover_goes_without_a_trace_when_its_machines_protection_ends() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let drill = Drill {
        phase: DrillPhase::Opening,
        overdue: false,
        host: Some(pair.target_id),
        order: 1,
        point: Default::default(),
        network: DrillNetwork::Own,
        until_ms: None,
    };
    pair.tell(&Life { drill: Some(drill), ..life });
    let runs = |report: &HostReport| {
        let drill = standing(report, machine).and_then(|standing| standing.drill.clone());
        drill.is_some_and(|drill| drill.runs)
    };
    pair.vault.until(pair.target_id, "the copy to run", runs).await;
    let host = pair.target_host();
    let dir = pair.replicas_dir().join(format!("{machine}.drill"));
    let served = || {
        let found = Command::new("pgrep").arg("-f").arg(dir.display().to_string()).output().unwrap();
        !found.stdout.is_empty()
    };
    assert!(dir.exists() && served());
    assert_eq!((host.machines().await.unwrap().len(), host.networks().len()), (1, 1));
    // Also where it ends while nobody is there to see that.
    pair.stop_target().await;
    pair.remove("forgotten");
    pair.start_target();
    let gone = async || {
        let machines = host.machines().await.unwrap();
        machines.is_empty() && host.networks().is_empty() && !dir.exists() && !served()
    };
    until("nothing of it", gone).await;
    let pinned = || pair.kept_at_target().contains("farshore-");
    until("nobody to remember it", async || !pinned()).await;
    pair.end().await;
}

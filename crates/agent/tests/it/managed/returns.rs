//! A machine that goes back to a host on which it was before: what was written and changed there
//! meanwhile counts.

use farshore_agent::control::{Reply, Request};
use farshore_control::HostReport;
use farshore_hypervisor::Hypervisor;
use farshore_protection::{BroughtUp, Kind, Life, Operation, Stage};

use super::{
    handing::{ordered, standing},
    vault::PATIENCE,
    world::{Pair, SIZE},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_host_wrote_itself_is_the_newest_point_when_its_machine_is_brought_up_there_again() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.target_host().add_image(&pair.overlay_at(pair.target_id), SIZE);
    let up = |report: &HostReport| standing(report, machine).and_then(|s| s.brought_up);
    let bring_up = async |life: &Life| -> BroughtUp {
        let is = |report: &HostReport| {
            let runs = standing(report, machine).is_some_and(|s| s.runs == Some(true));
            runs && up(report).is_some_and(|up| up.epoch == life.epoch)
        };
        up(&pair.vault.until(pair.target_id, "it to run there", is).await).unwrap()
    };
    let away = ordered(&life, Operation::UnplannedFailover, false);
    pair.tell(&away);
    let first = bring_up(&away).await.at.unwrap();
    // It goes home and away again while this host hears of nothing, and goes on writing.
    pair.stop_target().await;
    let ran = |life: Life| {
        let stage = Stage::FailedOver { kind: Kind::Unplanned, at: None, kept: Default::default() };
        Life { stage, ..life }
    };
    let home = ordered(&ran(away), Operation::UnplannedFailover, false);
    let again = ordered(&ran(home), Operation::UnplannedFailover, false);
    assert_eq!((again.source, again.epoch.number), (pair.target_id, 4));
    pair.change(|protection| {
        std::mem::swap(&mut protection.source, &mut protection.target);
        (protection.epoch, protection.life) = (again.epoch, Some(again.clone()));
    });
    pair.start_target();
    let second = bring_up(&again).await.at.unwrap();
    assert!(second > first, "what it wrote is the newest point: {second}, after {first}");
    assert_eq!(second.number, pair.newest().await);
    // It stays until a person has what they need of it.
    let release = async |point| {
        let asked = pair.ask_target(Request::Release { machine: machine.to_string(), point }).await;
        let Ok(Reply::Released(told)) = asked else { panic!("{asked:?}") };
        (told.released, told.kept)
    };
    assert_eq!(release(first).await, (false, vec![second]), "kept by retention alone");
    assert_eq!(release(second).await, (true, Vec::new()));
    assert_eq!(release(second).await, (false, Vec::new()));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_at_home_between_two_leavings_is_not_taken_back_by_the_second_return() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    pair.target_host().add_image(&pair.overlay_at(pair.target_id), SIZE);
    pair.source_host.add_image(&pair.overlay_at(pair.source_id), SIZE);
    let away = pair.move_over(&life, Operation::PlannedFailover).await;
    let kept = async |what: &str, is: fn(&str) -> bool| {
        let begun = std::time::Instant::now();
        while !is(&pair.home_definition()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {}", pair.home_definition());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let home = pair.move_over(&away, Operation::Failback).await;
    kept("what it had before", |text| text.contains("web1") && !text.contains("lan2")).await;
    let was = pair.source_host.machine(machine).await.unwrap().definition;
    let card = "<interface type='network'><source network='lan2'/></interface></devices>";
    pair.source_host.define(&was.replace("</devices>", card)).await.unwrap();
    pair.move_over(&home, Operation::PlannedFailover).await;
    kept("what it had when it left again", |text| text.contains("lan2")).await;
    pair.end().await;
}

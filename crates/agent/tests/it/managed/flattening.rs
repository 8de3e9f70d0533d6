//! Disks of a machine that came over are made its own, by a life that the test plays: how far it
//! is, stopped and begun again, over a death of the agent and of the machine, and beside other
//! tools' jobs. What a pull does to real images is shown with real guests.

use std::time::{Duration, Instant};

use farshore_control::{HostReport, standing::Flattening};
use farshore_hypervisor::{BlockJob, Hypervisor, Start, simulated::Operation as Call};
use farshore_protection::{Flat, Kind, Life, Operation, Stage};
use farshore_types::DiskKey;

use super::{
    handing::{lineage, ordered, standing},
    vault::PATIENCE,
    world::{Pair, SIZE},
};
use crate::world::key;

/// A machine that runs at the target, on an overlay over the replica.
struct Moved {
    pair: Pair,
    life: Life,
}

impl Moved {
    async fn new() -> Moved {
        let pair = Pair::new().await;
        let (machine, life) = (pair.machine, pair.living().await);
        pair.target_host().add_image(&pair.replica_dir().join("vda.active.qcow2"), SIZE);
        let over = ordered(&life, Operation::PlannedFailover, false);
        let Stage::HandingOver(handing) = &over.stage else { panic!("{over:?}") };
        let next = handing.next;
        pair.tell(&over);
        let runs = |report: &HostReport| {
            let held = lineage(report, machine).is_some_and(|held| held.epoch == next);
            held && standing(report, machine).is_some_and(|s| s.runs == Some(true) && s.brought_up.is_some())
        };
        pair.vault.until(pair.target_id, "it to run there", runs).await;
        pair.target_host().set_layered(machine, &vda(), true).unwrap();
        let life = Life {
            epoch: next,
            source: life.target,
            target: life.source,
            stage: Stage::Replicating,
            flat: Flat::Layered,
            ..over
        };
        pair.change(|protection| {
            std::mem::swap(&mut protection.source, &mut protection.target);
            protection.epoch = next;
        });
        let moved = Moved { pair, life };
        moved.want(false);
        moved
    }

    fn want(&self, flatten: bool) {
        let flat = if flatten { Flat::Flattening } else { Flat::Layered };
        self.pair.tell(&Life { flat, ..self.life.clone() });
    }

    async fn until(&self, what: &str, is: impl Fn(Option<&Flattening>) -> bool) {
        let machine = self.pair.machine;
        let is = |report: &HostReport| {
            standing(report, machine).is_some_and(|standing| is(standing.flattening.as_ref()))
        };
        self.pair.vault.until(self.pair.target_id, what, is).await;
    }

    async fn failed(&self, code: &str) {
        let is = |f: Option<&Flattening>| f.and_then(|f| f.failed.as_ref()).is_some_and(|f| f.code == code);
        self.until(code, is).await;
    }

    async fn done(&self, bytes: u64) {
        let is = |f: Option<&Flattening>| {
            f.is_some_and(|f| (f.done, f.total, f.flat) == (bytes, SIZE, false) && f.failed.is_none())
        };
        self.until("how far it is", is).await;
    }

    /// Waits until a block job runs there, or none.
    async fn until_jobs(&self, run: bool) {
        let begun = Instant::now();
        while self.jobs().await.is_empty() == run {
            assert!(begun.elapsed() < PATIENCE, "a job that runs: {:?}", self.jobs().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn jobs(&self) -> Vec<BlockJob> {
        self.pair.target_host().block_jobs(self.pair.machine).await.unwrap()
    }
}

fn vda() -> DiskKey {
    key("vda")
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_become_a_machines_own_over_stops_and_deaths_and_what_was_copied_stays() {
    let moved = Moved::new().await;
    let (pair, machine) = (&moved.pair, moved.pair.machine);
    let host = pair.target_host();
    moved.want(true);
    moved.done(0).await;
    moved.until_jobs(true).await;
    host.advance_pull(machine, SIZE / 4).unwrap();
    moved.done(SIZE / 4).await;
    // A killed agent's pull goes on, and the next one finds it.
    pair.restart_target().await;
    host.advance_pull(machine, SIZE / 4).unwrap();
    moved.done(SIZE / 2).await;
    assert_eq!(host.calls(Call::BeginPull), 1);
    moved.want(false);
    moved.until("nothing to be flattened", |flattening| flattening.is_none()).await;
    moved.until_jobs(false).await;
    assert!(host.machine(machine).await.unwrap().disk(&vda()).unwrap().layered);
    moved.want(true);
    moved.done(0).await;
    moved.until_jobs(true).await;
    // It goes with its machine, and on when that runs again.
    host.kill(machine).unwrap();
    moved.failed("off").await;
    host.start(machine, Start::Running).await.unwrap();
    moved.done(0).await;
    moved.until_jobs(true).await;
    host.advance_pull(machine, SIZE).unwrap();
    moved.until("all to be done", |f| f.is_some_and(|f| f.flat && f.done == SIZE)).await;
    pair.restart_target().await;
    moved.until("that it is", |f| f.is_some_and(|f| f.flat)).await;
    assert_eq!(host.calls(Call::BeginPull), 3);
    moved.pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_disks_from_becoming_its_own_is_said_and_other_tools_jobs_are_left_alone() {
    let moved = Moved::new().await;
    let (pair, machine) = (&moved.pair, moved.pair.machine);
    let host = pair.target_host();
    let commit = BlockJob { disk: vda(), what: "commit".to_owned(), done: 1, total: 2 };
    host.set_block_job(machine, Some(commit.clone())).unwrap();
    moved.want(true);
    moved.failed("busy").await;
    moved.want(false);
    moved.until("nothing to be flattened", |flattening| flattening.is_none()).await;
    assert_eq!(moved.jobs().await, [commit]);
    host.set_block_job(machine, None).unwrap();
    moved.want(true);
    moved.done(0).await;
    moved.until_jobs(true).await;
    // A pull that ended though not all was copied, as one does that cannot read or write.
    host.set_block_job(machine, None).unwrap();
    moved.failed("ended").await;
    // Nobody wants it any more while the agent is down: the next run ends what is left of it.
    moved.done(0).await;
    moved.until_jobs(true).await;
    pair.stop_target().await;
    moved.want(false);
    pair.start_target();
    moved.until("nothing to be flattened", |flattening| flattening.is_none()).await;
    moved.until_jobs(false).await;
    moved.pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_protection_flattening_ends_also_while_nobody_looks() {
    for watched in [true, false] {
        let moved = Moved::new().await;
        moved.want(true);
        moved.until_jobs(true).await;
        if !watched {
            moved.pair.stop_target().await;
        }
        moved.pair.remove("disabled");
        if !watched {
            moved.pair.start_target();
        }
        moved.until_jobs(false).await;
        let host = moved.pair.target_host();
        assert!(host.machine(moved.pair.machine).await.unwrap().disk(&vda()).unwrap().layered);
        moved.pair.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_is_delivered_though_disks_are_to_be_made_its_own() {
    let moved = Moved::new().await;
    let (pair, machine) = (&moved.pair, moved.pair.machine);
    let kept = std::collections::BTreeSet::new();
    let stage = Stage::FailedOver { kind: Kind::Unplanned, at: None, kept };
    let over = ordered(&Life { stage, ..moved.life.clone() }, Operation::Cancel, false);
    let Stage::HandingOver(handing) = &over.stage else { panic!("{over:?}") };
    let next = handing.next;
    // Sealed while the other host does not answer; a schedule falls due meanwhile.
    pair.stop_source().await;
    pair.tell(&Life { flat: Flat::Flattening, ..over });
    let sealed = |report: &HostReport| lineage(report, machine).is_some_and(|held| held.seal.is_some());
    pair.vault.until(pair.target_id, "its seal", sealed).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    pair.start_source();
    let owns = |report: &HostReport| lineage(report, machine).is_some_and(|held| held.epoch == next);
    pair.vault.until(pair.source_id, "the other host to have it", owns).await;
    moved.pair.end().await;
}

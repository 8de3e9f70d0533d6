//! Whether a machine could start where its replica is: looked at without anybody asking, and said
//! with what stands against it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use farshore_control::{HostReport, standing::CouldStart};
use farshore_hypervisor::{Hypervisor, Problem, simulated::Operation as Call};
use farshore_protection::Operation;

use super::{
    handing::{ordered, standing},
    world::Pair,
};

/// A file system of its own, which is gone with this. It takes the rights of root.
struct Cramped(PathBuf);

impl Cramped {
    fn at(dir: &Path, mib: u64) -> Cramped {
        fs::create_dir_all(dir).unwrap();
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir);
        assert!(mount.status().unwrap().success(), "mounting a file system takes the rights of root");
        Cramped(dir.to_owned())
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn until(pair: &Pair, what: &str, is: impl Fn(&CouldStart) -> bool) -> CouldStart {
    let machine = pair.machine;
    let looked = |report: &HostReport| standing(report, machine).and_then(|s| s.could_start.clone());
    let report =
        pair.vault.until(pair.target_id, what, |report| looked(report).is_some_and(|l| is(&l))).await;
    looked(&report).unwrap()
}

fn has(looked: &CouldStart, code: &str) -> bool {
    looked.against.iter().any(|problem| problem.code == code && !problem.advice.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_against_a_start_is_known_before_anybody_needs_it() {
    let pair = Pair::new().await;
    let (machine, life) = (pair.machine, pair.living().await);
    let could = until(&pair, "that it could start", CouldStart::could).await;
    assert!(could.at.number > 0);
    let source = pair.vault.report_of(pair.source_id).await;
    assert_eq!(standing(&source, machine).unwrap().could_start, None, "only of a replica");
    // Once it was looked at, it is left alone: this costs the hypervisor something.
    let looks = pair.target_host().calls(Call::CheckStartable);
    pair.newest_above(could.at.number + 1).await;
    assert_eq!(pair.target_host().calls(Call::CheckStartable), looks);
    let lost = Problem { what: "this host has no network 'lost'".to_owned(), advice: "make it".to_owned() };
    pair.target_host().set_start_problems(vec![lost]);
    pair.target_host().add_machine("web1", &[("vda", 1 << 20)]).await.unwrap();
    pair.tell(&life);
    let cannot = until(&pair, "that it could not", |looked| has(looked, "definition")).await;
    assert!(has(&cannot, "name-taken") && !cannot.could(), "{cannot:?}");
    assert!(pair.target_host().machine(machine).await.is_err(), "nothing was defined for that");
    pair.target_host().set_start_problems(Vec::new());
    pair.tell(&life);
    until(&pair, "what is left of it", |looked| has(looked, "name-taken") && looked.against.len() == 1).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_full_is_told_of_and_starts_the_machine_all_the_same_after_a_disaster() {
    let mounted = Mutex::new(None);
    let pair = Pair::configured(&["vda"], |config| {
        if config.name == "target" {
            *mounted.lock().unwrap() = Some(Cramped::at(&config.replica_dir, 320));
        }
    })
    .await;
    let life = pair.living().await;
    until(&pair, "that it could start", CouldStart::could).await;
    fs::write(pair.replicas_dir().join("much"), vec![0; 100 << 20]).unwrap();
    pair.tell(&life);
    until(&pair, "that it is full", |looked| has(looked, "no-space")).await;
    pair.tell(&ordered(&life, Operation::UnplannedFailover, false));
    let runs = |report: &HostReport| standing(report, pair.machine).is_some_and(|s| s.runs == Some(true));
    pair.vault.until(pair.target_id, "it to run there", runs).await;
    pair.end().await;
}

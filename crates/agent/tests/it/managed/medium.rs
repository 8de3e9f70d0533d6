//! Offline media: whose a medium is and whether it is whole is known when it is taken in, and
//! a cut export goes on.

use std::{fs, path::PathBuf};

use farshore_control::{
    InitialCopy,
    report::SourcePhase,
    request::{Action, Answer, Ending},
};
use farshore_types::MachineId;

use super::{mortal::Mortal, world::Pair};
use crate::world::key;

const DONE: Ending = Ending::Done { answer: Answer::Done };

/// A pair whose source waits for a medium, with something on its disk.
async fn waiting(disks: &[&str]) -> Pair {
    let pair = Pair::with_disks(disks).await;
    for disk in disks {
        let noise: Vec<u8> =
            (0..300_000_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        pair.source_host.guest_write(pair.machine, &key(disk), 0, &noise).unwrap();
    }
    pair.enable_with(|protection| protection.initial = InitialCopy::Offline);
    let waits = |phase: &SourcePhase| matches!(phase, SourcePhase::Waiting { why } if why.contains("medium"));
    pair.source_phase("it waits for the medium", waits).await;
    pair
}

async fn export(pair: &Pair) -> (PathBuf, Ending) {
    let to = pair.dir().join("medium");
    let action = Action::ExportMedium { machine: pair.machine, to: to.display().to_string() };
    let id = pair.ask(pair.source_id, None, action);
    (to, pair.vault.ending(id).await)
}

async fn adopt(pair: &Pair, machine: MachineId, disk: &str, path: PathBuf) -> Ending {
    let disks = vec![(key(disk), path.display().to_string())];
    let id = pair.ask(pair.target_id, None, Action::Adopt { machine, disks });
    pair.vault.ending(id).await
}

fn refusal(ending: Ending) -> String {
    let Ending::Failed { what, advice } = ending else { panic!("{ending:?}") };
    format!("{what}; {advice}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_foreign_medium_is_refused_by_name_and_a_whole_one_taken() {
    let pair = waiting(&["vda"]).await;
    let (medium, ending) = export(&pair).await;
    assert_eq!(ending, DONE);
    assert!(medium.join("medium.json").exists() && !medium.join("medium.unfinished.json").exists());
    let disk = medium.join("vda.raw");

    let other = MachineId(uuid::Uuid::from_u128(99));
    let told = refusal(adopt(&pair, other, "vda", disk.clone()).await);
    assert!(told.contains("medium of machine 'web1'") && told.contains("attach the medium"), "{told}");
    let told = refusal(adopt(&pair, pair.machine, "vdb", disk.clone()).await);
    assert!(told.contains("has no disk vdb"), "{told}");

    let good = fs::read(&disk).unwrap();
    let mut bad = good.clone();
    bad[200_000] ^= 1;
    fs::write(&disk, &bad).unwrap();
    let told = refusal(adopt(&pair, pair.machine, "vda", disk.clone()).await);
    assert!(told.contains("vda.raw is not what was written to the medium"), "{told}");
    fs::write(&disk, &good[..good.len() - 65_536]).unwrap();
    let told = refusal(adopt(&pair, pair.machine, "vda", disk.clone()).await);
    assert!(told.contains("it is damaged") && told.contains("copy the medium again"), "{told}");
    let manifest = fs::read_to_string(medium.join("medium.json")).unwrap();
    fs::write(medium.join("medium.json"), &manifest[..manifest.len() / 2]).unwrap();
    fs::write(&disk, &good).unwrap();
    let told = refusal(adopt(&pair, pair.machine, "vda", disk.clone()).await);
    assert!(told.contains("manifest") && told.contains("cannot be used"), "{told}");
    fs::write(medium.join("medium.json"), manifest).unwrap();

    pair.source_host.guest_write(pair.machine, &key("vda"), 600_000, b"meanwhile").unwrap();
    assert_eq!(adopt(&pair, pair.machine, "vda", disk).await, DONE);
    pair.change(|protection| protection.initial = InitialCopy::Existing);
    pair.newest_above(0).await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_export_goes_on_and_is_not_taken_before_it_is_whole() {
    let pair = waiting(&["vda", "vdb"]).await;
    let (medium, ending) = export(&pair).await;
    assert_eq!(ending, DONE);
    // As a cut would have left it after the first disk and half of the second.
    let text = fs::read_to_string(medium.join("medium.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let entry = manifest["disks"].as_object_mut().unwrap().remove("vdb").unwrap();
    manifest["under_way"] = serde_json::json!(["vdb", entry["size"], 131_072]);
    fs::remove_file(medium.join("medium.json")).unwrap();
    fs::write(medium.join("medium.unfinished.json"), manifest.to_string()).unwrap();
    let mut half = fs::read(medium.join("vdb.raw")).unwrap();
    // What was written before the cut is not written again, what came after it is.
    half[1000] ^= 1;
    half[131_072..].fill(0x55);
    fs::remove_file(medium.join("vdb.raw")).unwrap();
    fs::write(medium.join("vdb.unfinished"), &half).unwrap();
    let first = fs::metadata(medium.join("vda.raw")).unwrap().modified().unwrap();

    let told = refusal(adopt(&pair, pair.machine, "vda", medium.join("vda.raw")).await);
    assert!(told.contains("is not whole") && told.contains("goes on where it was"), "{told}");
    let (_, ending) = export(&pair).await;
    assert_eq!(ending, DONE);
    assert_eq!(fs::metadata(medium.join("vda.raw")).unwrap().modified().unwrap(), first, "it was whole");
    let second = fs::read(medium.join("vdb.raw")).unwrap();
    let model = pair.source_host.model_bytes(pair.machine, &key("vdb")).unwrap();
    assert_eq!(second[1000], half[1000], "what was done is not done again");
    assert_eq!(second[131_072..], model[131_072..], "what was not, is");

    // Even so the first cycle finds what differs.
    for disk in ["vda", "vdb"] {
        let ending = adopt(&pair, pair.machine, disk, medium.join(format!("{disk}.raw"))).await;
        assert_eq!(ending, DONE);
    }
    pair.change(|protection| protection.initial = InitialCopy::Existing);
    pair.newest_above(0).await;
    assert!(pair.replica_equals_model().await);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_was_cut_before_its_map_was_kept_is_done_again() {
    let pair = waiting(&["vda"]).await;
    let (medium, ending) = export(&pair).await;
    assert_eq!(ending, DONE);
    let target = Mortal::until([]);
    target.set_refused(Some("keep #.delta"));
    pair.stop_target().await;
    pair.start_target_of(&target);
    refusal(adopt(&pair, pair.machine, "vda", medium.join("vda.raw")).await);
    target.set_refused(None);
    assert_eq!(adopt(&pair, pair.machine, "vda", medium.join("vda.raw")).await, DONE);
    let kept = fs::read_dir(pair.replica_dir().join("chain")).unwrap();
    let maps =
        kept.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "delta"));
    assert_eq!(maps.count(), 1, "what is there is known, and not sent");
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_another_machines_medium_is_left_alone() {
    let pair = waiting(&["vda"]).await;
    let (medium, ending) = export(&pair).await;
    assert_eq!(ending, DONE);
    let path = medium.join("medium.json");
    let other = fs::read_to_string(&path).unwrap().replace(&pair.machine.to_string(), &other_id());
    fs::write(&path, &other).unwrap();
    let before = fs::read(medium.join("vda.raw")).unwrap();
    let (_, ending) = export(&pair).await;
    let told = refusal(ending);
    assert!(
        told.contains("holds a medium of machine 'web1'") && told.contains("another directory"),
        "{told}"
    );
    assert_eq!(fs::read(medium.join("vda.raw")).unwrap(), before);
    pair.end().await;
}

fn other_id() -> String {
    MachineId(uuid::Uuid::from_u128(99)).to_string()
}

//! Every situation that decides what the next cycle is.

use std::collections::BTreeMap;

use farshore_hypervisor::{Disk, PowerState};
use farshore_types::{PointId, PointRef, RootDigest};

use super::*;

const GIB: u64 = 1 << 30;

fn key(name: &str) -> DiskKey {
    name.parse().unwrap()
}

fn disk(name: &str, tracking: Tracking) -> Disk {
    Disk {
        key: key(name),
        path: Some(format!("/images/{name}").into()),
        format: "qcow2".into(),
        size: GIB,
        tracking,
        discard: true,
        stamp: None,
        layered: false,
    }
}

fn machine(disks: Vec<Disk>) -> Machine {
    Machine {
        id: "6f1de0b2-9a43-4d5c-8a0e-0123456789ab".parse().unwrap(),
        name: "web1".into(),
        power: PowerState::Running,
        disks,
        nics: vec![],
        definition: String::new(),
        autostart: false,
        saved: false,
        nvram: None,
    }
}

fn checkpoint(name: &str, disks: &[&str]) -> Checkpoint {
    Checkpoint {
        name: name.into(),
        parent: None,
        current: true,
        disks: disks.iter().map(|d| key(d)).collect(),
    }
}

fn sealed(checkpoint: Option<&str>) -> Record {
    Record {
        sealed: Some(PointRef { id: PointId { epoch: 1, number: 4 }, root: RootDigest::NONE }),
        checkpoint: checkpoint.map(String::from),
        disks: vec![(key("vda"), GIB)],
        ..Record::default()
    }
}

fn raw() -> Tracking {
    Tracking::Compare { why: "raw".into() }
}

fn reads(plan: &Plan) -> Vec<Read> {
    plan.disks.iter().map(|d| d.read.clone()).collect()
}

fn dirty(since: &str) -> Read {
    Read::Dirty { since: since.into(), from: 0 }
}

#[test]
fn a_machine_unknown_to_the_target_is_copied_under_a_checkpoint() {
    let plan = next(&machine(vec![disk("vda", Tracking::Bitmap)]), &[key("vda")], &Record::default(), &[]);
    assert!(matches!(&plan.scan, Some(Scan { why: ScanReason::Initial, .. })));
    assert!(plan.checkpoint);
    assert_eq!(reads(&plan), [Read::From(0)]);
}

#[test]
fn a_sealed_machine_sends_what_is_dirty_since_its_checkpoint() {
    let all = [checkpoint("farshore-a", &["vda"])];
    let plan =
        next(&machine(vec![disk("vda", Tracking::Bitmap)]), &[key("vda")], &sealed(Some("farshore-a")), &all);
    assert_eq!((plan.scan.clone(), plan.checkpoint, reads(&plan)), (None, true, vec![dirty("farshore-a")]));
}

#[test]
fn a_checkpoint_that_is_gone_means_a_resync() {
    let plan =
        next(&machine(vec![disk("vda", Tracking::Bitmap)]), &[key("vda")], &sealed(Some("farshore-a")), &[]);
    assert!(
        matches!(&plan.scan, Some(Scan { why: ScanReason::Resync(why), .. }) if why.contains("farshore-a"))
    );
    assert_eq!(reads(&plan), [Read::From(0)]);
}

#[test]
fn a_disk_added_since_the_checkpoint_is_read_whole_once() {
    let all = [checkpoint("farshore-a", &["vda"])];
    let both = machine(vec![disk("vda", Tracking::Bitmap), disk("vdb", Tracking::Bitmap)]);
    let plan = next(&both, &[key("vda"), key("vdb")], &sealed(Some("farshore-a")), &all);
    assert_eq!(reads(&plan), [dirty("farshore-a"), Read::From(0)]);
    assert!(plan.disks.iter().all(|d| d.tracked));
}

#[test]
fn a_raw_disk_is_compared_every_time_beside_tracked_ones() {
    let all = [checkpoint("farshore-a", &["vda"])];
    let both = machine(vec![disk("vda", Tracking::Bitmap), disk("vdb", raw())]);
    let plan = next(&both, &[key("vda"), key("vdb")], &sealed(Some("farshore-a")), &all);
    assert_eq!(reads(&plan), [dirty("farshore-a"), Read::From(0)]);
    assert!(!plan.disks[1].tracked);
}

#[test]
fn a_machine_of_raw_disks_alone_needs_no_checkpoint() {
    let plan = next(&machine(vec![disk("vda", raw())]), &[key("vda")], &sealed(None), &[]);
    assert_eq!((plan.scan.clone(), plan.checkpoint, reads(&plan)), (None, false, vec![Read::From(0)]));
}

#[test]
fn a_scan_goes_on_where_it_was_and_starts_over_without_its_checkpoint() {
    let done = BTreeMap::from([(key("vda"), 100)]);
    let scan = Scan { why: ScanReason::Initial, checkpoint: Some("farshore-a".into()), done, since: None };
    let record = Record { scan: Some(scan), ..sealed(None) };
    let one = machine(vec![disk("vda", Tracking::Bitmap)]);
    let plan = next(&one, &[key("vda")], &record, &[checkpoint("farshore-a", &["vda"])]);
    assert_eq!((plan.checkpoint, reads(&plan)), (false, vec![Read::From(100)]));
    let plan = next(&one, &[key("vda")], &record, &[]);
    assert_eq!((plan.checkpoint, reads(&plan)), (true, vec![Read::From(0)]));
}

#[test]
fn a_resized_disk_says_what_it_was() {
    let all = [checkpoint("farshore-a", &["vda"])];
    let mut record = sealed(Some("farshore-a"));
    record.disks[0].1 = GIB / 2;
    let plan = next(&machine(vec![disk("vda", Tracking::Bitmap)]), &[key("vda")], &record, &all);
    assert_eq!(plan.disks[0].was, Some(GIB / 2));
}

#[test]
fn excluded_and_unsupported_disks_are_left_out_and_named() {
    let left = Tracking::LeftOut { why: "shared".into() };
    let all = machine(vec![disk("vda", Tracking::Bitmap), disk("vdb", left), disk("vdc", Tracking::Bitmap)]);
    let (chosen, notes) = choose_disks(&all, &BTreeSet::from([key("vdc")]), &[]).unwrap();
    assert_eq!(chosen, [key("vda")]);
    assert!(notes.iter().any(|n| n.contains("vdb") && n.contains("shared")), "{notes:?}");
    assert!(notes.iter().any(|n| n.contains("vdc") && n.contains("configured")), "{notes:?}");
}

#[test]
fn no_disk_is_dropped_because_it_could_not_be_looked_at_or_turned_unfit() {
    let unknown = Tracking::Unknown { why: "locked".into() };
    let all = machine(vec![disk("vda", unknown), disk("vdb", Tracking::Bitmap)]);
    let error = choose_disks(&all, &BTreeSet::new(), &[]).unwrap_err();
    assert!(error.heals() && error.to_string().contains("vda: locked"), "{error}");
    let without = choose_disks(&all, &BTreeSet::from([key("vda")]), &[]).unwrap();
    assert_eq!(without.0, [key("vdb")], "excluded: nobody needs to look at it");
    let left = Tracking::LeftOut { why: "read-only".into() };
    let all = machine(vec![disk("vda", left), disk("vdb", Tracking::Bitmap)]);
    assert_eq!(choose_disks(&all, &BTreeSet::new(), &[(key("vdb"), GIB)]).unwrap().0, [key("vdb")]);
    let error = choose_disks(&all, &BTreeSet::new(), &[(key("vda"), GIB)]).unwrap_err();
    assert!(error.heals() && error.to_string().contains("exclude the disk"), "{error}");
    choose_disks(&all, &BTreeSet::from([key("vda")]), &[(key("vda"), GIB)]).unwrap();
}

#[test]
fn the_rest_of_a_large_cycle_is_what_changed_and_the_whole_disk_only_without_its_checkpoint() {
    let done = BTreeMap::from([(key("vda"), 100)]);
    let (checkpoint, since) = (Some("farshore-b".into()), Some("farshore-a".into()));
    let scan = Scan { why: ScanReason::Rest, checkpoint, done, since };
    let record = Record { scan: Some(scan), ..sealed(None) };
    let one = machine(vec![disk("vda", Tracking::Bitmap)]);
    let (a, b) = (checkpoint_of("farshore-a"), checkpoint_of("farshore-b"));
    let plan = |all: &[Checkpoint]| next(&one, &[key("vda")], &record, all);
    let both = plan(&[a.clone(), b.clone()]);
    let rest = Read::Dirty { since: "farshore-a".into(), from: 100 };
    assert_eq!((both.checkpoint, reads(&both)), (false, vec![rest]));
    assert_eq!(reads(&plan(&[b])), [Read::From(100)]);
    let lost = plan(&[a]);
    assert_eq!((lost.checkpoint, reads(&lost)), (true, vec![Read::From(0)]));
    assert!(matches!(lost.scan, Some(Scan { why: ScanReason::Resync(_), since: None, .. })));
}

fn checkpoint_of(name: &str) -> Checkpoint {
    checkpoint(name, &["vda"])
}

//! A guest that came over gets disks of its own while it writes: stopped in the middle, the agent
//! killed in the middle, and home again, with nothing lost, nothing copied a second time, and no
//! second copy left behind.

use std::{path::PathBuf, process::Command, time::Duration};

use farshore_control::standing::Flattening;
use farshore_guest::Load;
use farshore_protection::{Flat, Operation, State};
use serde_json::Value;

use crate::{
    handed::{Above, IDS},
    site::{Site, wait},
    small_disk::SmallDisk,
};

/// Slow enough that one can come in between, also an agent that takes ten seconds to be back.
const RATE: &str = "flatten_rate = 800000\n";

fn overlay(above: &Above, disk: &str) -> PathBuf {
    above.site.away.dir.join("replicas").join(&above.site.uuid).join(format!("{disk}.active.qcow2"))
}

/// What stock tools say that a disk stands on.
fn stands_on(above: &Above, disk: &str) -> Option<String> {
    let mut info = Command::new("qemu-img");
    let said = info.args(["info", "-U", "--output", "json"]).arg(overlay(above, disk)).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    said["backing-filename"].as_str().map(str::to_owned)
}

/// Waits until it has come further than `done`; gives how far.
fn further(above: &mut Above, done: u64) -> Flattening {
    wait("flattening to go on", || {
        above.hear();
        above.flattening().filter(|flattening| flattening.done > done)
    })
}

#[test]
fn a_guest_gets_disks_of_its_own_while_it_writes_and_goes_home_with_nothing_lost_or_left() {
    let mut above = Above::configured(1, RATE);
    above.until("the first point", |life| life.state() == State::Protected);
    let first_copy = above.size(IDS[0]);
    above.move_over(Operation::PlannedFailover);
    above.order(Operation::Commit, |_| {});
    above.next_point();
    let layered = above.size(IDS[1]);
    assert!(["vda", "vdb"].iter().all(|disk| stands_on(&above, disk).is_some()));

    above.order(Operation::Flatten, |_| {});
    let begun = further(&mut above, 0);
    assert!(begun.total > begun.done && begun.failed.is_none() && !begun.flat, "{begun:?}");
    let resting = above.points(IDS[0]).last().unwrap().id;
    above.site.away.kill_agent();
    std::thread::sleep(Duration::from_millis(500));
    above.site.away.start_agent().unwrap();
    let after = further(&mut above, begun.done);
    assert!(after.failed.is_none(), "{after:?}");
    assert_eq!(above.points(IDS[0]).last().unwrap().id, resting, "nothing is replicated meanwhile");
    above.order(Operation::StopFlatten, |_| {});
    let point = above.next_point();
    assert!(point.id.number > resting.number && stands_on(&above, "vda").is_some());

    let before = above.sent(IDS[1]);
    above.order(Operation::Flatten, |_| {});
    above.until("its disks to be its own", |life| life.flat == Flat::Own);
    assert!(["vda", "vdb"].iter().all(|disk| stands_on(&above, disk).is_none()), "they stand on nothing");
    above.site.until_guest_goes_on();
    above.next_point();
    let sent = above.sent(IDS[1]) - before;
    println!("{sent} bytes sent after flattening, of {first_copy}");
    assert!(sent < first_copy / 4, "only what the guest wrote is sent: {sent} of {first_copy}");
    let flat = above.size(IDS[1]);
    assert!(flat > layered, "{flat} bytes, and {layered} before");

    above.move_over(Operation::Failback);
    let point = above.next_point();
    assert_eq!((point.id.epoch, above.life.source), (3, IDS[0]));
    assert!(!overlay(&above, "vda").exists() && !overlay(&above, "vdb").exists());
    let left = above.size(IDS[1]);
    println!("{left} bytes afterwards, {layered} before, {flat} with disks of its own");
    assert!(left < layered + first_copy / 4, "no second copy stays: {left}, and {layered} before");
}

/// MiB of the storage of replicas: what an agent keeps free there, and more than the guest has.
const STORAGE: u64 = 600;
/// Bytes left to the guest's own writes: less than its disks have, and more than it writes while it
/// is looked at.
const LITTLE: u64 = 12 << 20;
/// For how long.
const LOOKED_AT: Duration = Duration::from_secs(10);

fn no_space(above: &mut Above) {
    wait("that the room does not do", || {
        above.hear();
        above.flattening()?.failed.filter(|failed| failed.code == "no-space")
    });
}

#[test]
fn where_disks_of_its_own_would_fill_the_storage_the_guest_keeps_what_room_there_is() {
    let site = Site::new(Load { write_kib_per_second: 128, ..Load::default() });
    let storage = SmallDisk::mount(&site.dir.path().join("disk"), &site.away.dir.join("replicas"), STORAGE);
    let mut above = Above::of(site, 1, None, "");
    above.until("the first point", |life| life.state() == State::Protected);
    above.move_over(Operation::PlannedFailover);
    above.order(Operation::Commit, |_| {});
    above.next_point();

    storage.fill_but(LITTLE);
    above.order(Operation::Flatten, |_| {});
    no_space(&mut above);
    std::thread::sleep(LOOKED_AT);
    above.site.until_guest_goes_on();
    assert!(stands_on(&above, "vda").is_some(), "nothing was begun");
    // It begins by itself where there is room, and is ended where others take that away.
    above.site.away.kill_agent();
    above.site.away.configure_more(RATE).unwrap();
    above.site.away.start_agent().unwrap();
    storage.clear();
    further(&mut above, 0);
    storage.fill_but(LITTLE);
    no_space(&mut above);
    above.site.until_guest_goes_on();
    assert!(stands_on(&above, "vda").is_some(), "it was ended");

    // The test is tested: where nobody looks at the room, the guest stands still.
    above.site.away.kill_agent();
    above.site.away.set_environment(&[("FARSHORE_BUG", "FillsStorage")]);
    above.site.away.start_agent().unwrap();
    wait("the storage to be full", || (storage.free() == 0).then_some(()));
    wait("the guest to stand still, which catches it", || {
        let last = above.site.last_known();
        std::thread::sleep(LOOKED_AT / 2);
        (above.site.last_known() == last).then_some(())
    });
}

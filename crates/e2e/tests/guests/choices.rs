//! What can be tried and taken back: a test failover while replication goes on, and after an
//! unplanned failover another point, the earlier one as it was left, and the whole of it.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use farshore_e2e::host::run;
use farshore_guest::Load;
use farshore_protection::{Choice, DrillNetwork, DrillPhase, Operation, Overlay, State};

use crate::{
    daemon::Daemon,
    handed::{Above, IDS},
    site::{Site, verdict_on, wait},
};

/// Processes that serve points of a host's replicas.
fn servers(above: &Above) -> usize {
    let dir = above.host(IDS[1]).dir.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.starts_with("qemu-nbd") && line.contains(&dir))
        .count()
}

/// Domains and networks of a host.
fn defined(daemon: &Daemon) -> [String; 2] {
    [&["list", "--all", "--name"][..], &["net-list", "--all", "--name"]]
        .map(|args| daemon.virsh(args).unwrap())
}

fn links() -> String {
    run(Command::new("ip").args(["-o", "link", "show", "type", "bridge"])).unwrap()
}

/// Tries an older point in a network while the guest writes as much as it can and is replicated, and
/// cleans up; nothing of it stays.
fn is_tried(above: &mut Above, daemon: &Daemon, network: DrillNetwork) {
    let older = above.points(IDS[1]).into_iter().rev().nth(2).unwrap();
    let (last, named) = (above.judge(IDS[1], &older), network != DrillNetwork::Own);
    let (before, defined_before) = (above.site.traces(), defined(daemon));
    let console = above.site.set_console_aside();
    above.order(Operation::TestFailover, |order| {
        (order.point, order.network) = (Choice::At(older.id), network);
    });
    above.until("the copy to run", |life| {
        life.drill.as_ref().is_some_and(|drill| drill.phase == DrillPhase::Open)
    });
    assert_eq!(verdict_on(&console, 0).last, last, "what the copy has is what that point has");
    assert_eq!(servers(above), 2, "one for each disk");
    let replica = above.points(IDS[1]);
    assert!(replica.iter().any(|point| point.pinned_by.iter().any(|by| by.starts_with("test failover"))));
    // The copy's only card is in that network, alone, and that leads nowhere.
    let [domains, networks] = defined(daemon);
    let cards = daemon.virsh(&["domiflist", domains.trim()]).unwrap();
    let card: Vec<&str> = cards.lines().nth(2).unwrap().split_whitespace().collect();
    let [port, "network", source, ..] = card[..] else { panic!("{cards}") };
    assert_eq!(named, source == "lab", "{cards}");
    assert_eq!(named, networks == defined_before[1], "{networks}");
    let made = daemon.virsh(&["net-dumpxml", source]).unwrap();
    assert!(!made.contains("<forward") && !made.contains("<ip "), "{made}");
    let bridge = made.split("bridge name='").nth(1).unwrap().split('\'').next().unwrap();
    let ports = run(Command::new("ip").args(["-o", "link", "show", "master", bridge])).unwrap();
    assert!(ports.lines().count() == 1 && ports.contains(port), "{ports}");
    // Its production goes on, and is replicated.
    let after = above.next_point();
    assert!(above.judge(IDS[1], &after) > last);
    above.order(Operation::CleanUp, |_| {});
    above.until("nothing of it to be left", |life| life.drill.is_none());
    assert_eq!(servers(above), 0);
    assert_eq!(above.host(IDS[1]).machine_pids(), Vec::<u32>::new());
    assert!(above.points(IDS[1]).iter().all(|point| point.pinned_by.is_empty()));
    assert_eq!(defined(daemon), defined_before);
    assert!(!links().contains(port) && (named || !links().contains(bridge)), "{}", links());
    above.site.until_no_trace_but(&before);
    above.site.take_console_back();
    assert_eq!(above.site.verdicts().len(), 1, "production was never started anew");
    above.next_point();
}

#[test]
fn a_copy_is_tried_in_a_network_while_much_is_written_and_nothing_of_it_stays() {
    // More than it comes to in emulation.
    let load = Load { write_kib_per_second: 16 << 10, ..Load::default() };
    let site = Site::with_card(load);
    let daemon = Daemon::start(&site.away.dir, 4);
    // A named network of the host that keeps the replica, which leads nowhere.
    daemon.start_network("lab", "fstest4", "");
    site.away.configure_more(&format!("hypervisor = '{}'\n", daemon.uri())).unwrap();
    let mut above = Above::of(site, 1, None, "");
    above.until("the first point", |life| life.state() == State::Protected);
    for _ in 0..3 {
        above.next_point();
    }
    let (begun, sent) = (Instant::now(), above.sent(IDS[0]));
    is_tried(&mut above, &daemon, DrillNetwork::Named("lab".to_owned()));
    is_tried(&mut above, &daemon, DrillNetwork::Own);
    let secs = begun.elapsed().as_secs_f64();
    println!("{} bytes were sent meanwhile in {secs} s", above.sent(IDS[0]) - sent);
}

#[test]
fn a_failover_goes_to_another_point_and_back_as_it_was_left_and_is_taken_back() {
    let mut above = Above::new(1);
    above.until("the first point", |life| life.state() == State::Protected);
    let older = above.next_point();
    std::thread::sleep(Duration::from_secs(1));
    let newer = above.next_point();
    let at_home = above.site.verdicts().len();
    above.order(Operation::UnplannedFailover, |order| order.point = Choice::At(older.id));
    above.until("it at the older point", |life| life.state() == State::FailedOver);
    let first = above.site.verdict_after(at_home);
    wait("home's copy to be fenced", || above.site.home.machine_pids().is_empty().then_some(()));
    above.site.until_guest_goes_on();
    above.order(Operation::ChangePoint, |order| order.point = Choice::At(newer.id));
    above.until("it at the newer point", |life| life.state() == State::FailedOver);
    let second = above.site.verdict_after(at_home + 1);
    assert!(second.last > first.last, "a newer point has more: {first}, then {second}");
    above.order(Operation::ChangePoint, |order| {
        (order.point, order.overlay) = (Choice::At(older.id), Overlay::AsLeft);
    });
    above.until("it back at the older point", |life| life.state() == State::FailedOver);
    let back = above.site.verdict_after(at_home + 2);
    assert!(back.last > first.last, "as it was left, with what it wrote there: {first}, then {back}");
    above.order(Operation::Cancel, |_| {});
    above.until("it to run at home again", |life| {
        life.source == IDS[0] && matches!(life.state(), State::Protected | State::Resynchronizing)
    });
    let home = above.site.verdict_after(at_home + 3);
    assert!(home.last > second.last, "nothing of home's is lost: {second}, then {home}");
    above.until("replication to go on", |life| life.state() == State::Protected);
    above.next_point();
    let points = above.points(IDS[1]);
    let pinned: Vec<_> = points.iter().filter(|point| !point.pinned_by.is_empty()).collect();
    let [newer, older] = pinned[..] else { panic!("what was written at each point is kept, and no other") };
    assert!(above.judge(IDS[1], newer) >= second.last, "what was written at the newer point");
    assert!(above.judge(IDS[1], older) >= back.last, "and at the older one, which it left last");
}

//! What can be tried and taken back: a test failover while replication goes on, and after an
//! unplanned failover another point, the earlier one as it was left, and the whole of it.

use std::time::Duration;

use farshore_guest::Verdict;
use farshore_protection::{Choice, DrillPhase, Operation, Overlay, State};

use crate::{
    handed::{Above, IDS},
    site::wait,
};

/// The verdict of the boot after `boots` others.
fn verdict(above: &Above, boots: usize) -> Verdict {
    let verdict = wait("the guest's verdict", || above.site.verdicts().get(boots).copied());
    assert!(verdict.is_good(), "{verdict}");
    verdict
}

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

#[test]
fn a_copy_is_tried_while_replication_goes_on_and_nothing_of_it_stays() {
    let mut above = Above::new(1);
    above.until("the first point", |life| life.state() == State::Protected);
    let before = above.next_point();
    let boots = above.site.verdicts().len();
    above.order(Operation::TestFailover, |_| {});
    above.until("the copy to run", |life| {
        life.drill.as_ref().is_some_and(|drill| drill.phase == DrillPhase::Open)
    });
    let tried = verdict(&above, boots);
    assert!(tried.last > 0, "{tried}");
    assert_eq!(servers(&above), 2, "one for each disk");
    let replica = above.points(IDS[1]);
    assert!(replica.iter().any(|point| point.pinned_by.iter().any(|by| by.starts_with("test failover"))));
    // Its production goes on, and is replicated.
    let after = above.next_point();
    assert!(after.id.number > before.id.number);
    above.order(Operation::CleanUp, |_| {});
    above.until("nothing of it to be left", |life| life.drill.is_none());
    assert_eq!(servers(&above), 0);
    assert_eq!(above.host(IDS[1]).machine_pids(), Vec::<u32>::new());
    assert!(above.points(IDS[1]).iter().all(|point| point.pinned_by.is_empty()));
    let left = std::fs::read_dir(above.host(IDS[1]).dir.join("replicas")).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".drill")));
    above.next_point();
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
    let first = verdict(&above, at_home);
    wait("home's copy to be fenced", || above.site.home.machine_pids().is_empty().then_some(()));
    above.site.until_guest_goes_on();
    above.order(Operation::ChangePoint, |order| order.point = Choice::At(newer.id));
    above.until("it at the newer point", |life| life.state() == State::FailedOver);
    let second = verdict(&above, at_home + 1);
    assert!(second.last > first.last, "a newer point has more: {first}, then {second}");
    above.order(Operation::ChangePoint, |order| {
        (order.point, order.overlay) = (Choice::At(older.id), Overlay::AsLeft);
    });
    above.until("it back at the older point", |life| life.state() == State::FailedOver);
    let back = verdict(&above, at_home + 2);
    assert!(back.last > first.last, "as it was left, with what it wrote there: {first}, then {back}");
    above.order(Operation::Cancel, |_| {});
    above.until("it to run at home again", |life| {
        life.source == IDS[0] && matches!(life.state(), State::Protected | State::Resynchronizing)
    });
    let home = verdict(&above, at_home + 3);
    assert!(home.last > second.last, "nothing of home's is lost: {second}, then {home}");
    above.until("replication to go on", |life| life.state() == State::Protected);
    above.next_point();
    let pinned = above.points(IDS[1]).into_iter().filter(|point| !point.pinned_by.is_empty()).count();
    assert_eq!(pinned, 1, "what was written there is kept, and nothing else is");
}

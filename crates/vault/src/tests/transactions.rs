//! Transactions: what fails changes nothing, what is not stored leaves no trace, and what says
//! nothing new is not written.

use farshore_control::sync::{BATCH_MAX, Cursor, Poll};

use super::world::{World, id, moment};
use crate::{Command, Core, Enable, LoadError, Start};

#[test]
fn a_command_that_fails_halfway_changes_nothing() {
    let mut world = World::new();
    world.enable(2);
    let before = world.core.clone();
    let machines = vec![id(1), id(2)];
    let enable = Command::Enable(Enable { machines, ..Enable::default() });
    let at = world.moment();
    assert!(world.core.run(&enable, Some("key"), &at).is_err());
    assert_eq!(world.core, before);
    assert!(world.core.changes().is_empty());
}

#[test]
fn a_transaction_that_was_not_stored_leaves_no_trace_and_can_be_done_again() {
    let mut world = World::new();
    let before = world.core.clone();
    let enable = Command::Enable(Enable { machines: vec![id(1)], ..Enable::default() });
    let at = world.moment();
    world.core.run(&enable, Some("key"), &at).unwrap();
    assert!(!world.core.changes().is_empty());
    world.core.roll_back();
    assert_eq!(world.core, before);
    assert!(world.core.changes().is_empty());
    assert!(world.core.run(&enable, Some("key"), &at).unwrap().changed);
}

#[test]
fn reports_that_say_nothing_new_are_not_written() {
    let mut world = World::new();
    world.enable(1);
    world.deliver_all();
    world.all_report();
    for host in world.hosts.clone() {
        let sequence = world.core.sequence();
        let stored = world.stored.clone();
        world.report_once(host, false);
        assert!(world.stored == stored && world.core.sequence() == sequence);
    }
    let at = world.moment();
    world.core.tick(&at);
    assert!(world.core.changes().is_empty());
}

/// However often a host reports: points are seen, and cost no write.
#[test]
fn reports_of_new_points_are_not_written() {
    let (mut world, _) = super::moving::copied();
    let host = world.hosts[0];
    let newest = |world: &World| world.core.observed_of(host).unwrap().report.sources[0].newest.unwrap().id;
    let (stored, before) = (world.stored.clone(), newest(&world));
    for _ in 0..5 {
        world.hands_work();
        world.report_once(host, false);
    }
    assert_eq!(newest(&world).number, before.number + 5);
    assert!(world.stored == stored);
}

#[test]
fn an_overtaken_report_says_nothing() {
    let mut world = World::new();
    let host = world.hosts[0];
    let old = world.agent(0).report(true);
    world.agent(0).machines.clear();
    world.report(host);
    let report = farshore_control::sync::SiteReport {
        site: world.sites[0],
        version: String::new(),
        clock_ms: 0,
        transit_ms: 0,
        problems: Vec::new(),
        hosts: vec![(0, old)],
    };
    let at = world.moment();
    world.core.site_report(&report, &at).unwrap();
    assert!(world.core.machine_on((host, id(1))).is_none());
}

#[test]
fn rows_survive_the_store() {
    let mut world = World::new();
    world.enable(1);
    world.run(&Command::AddToken { name: "t".to_owned(), expires_ms: None });
    world.deliver_all();
    let given = world.stored.iter().map(|((kind, key), body)| (kind.as_str(), key.as_str(), body.as_slice()));
    let loaded = Core::load(given, Start::Continued, &moment(9999)).unwrap();
    assert!(loaded.protections().eq(world.core.protections()));
    assert!(loaded.documents().eq(world.core.documents()));
    assert!(loaded.machines().eq(world.core.machines()));
    assert!(loaded.tokens().eq(world.core.tokens()));
    assert_eq!(loaded.sequence(), world.core.sequence());
}

#[test]
fn a_store_that_is_not_ours_is_refused_and_says_why() {
    let load = |rows: &[(&str, &str, &[u8])]| {
        Core::load(rows.iter().copied(), Start::Continued, &moment(1)).unwrap_err()
    };
    assert_eq!(load(&[]), LoadError::Empty);
    assert_eq!(load(&[("orbit", "1", b"{}")]), LoadError::Newer { kind: "orbit".to_owned() });
    let damaged = load(&[("site", "x", b"{")]).to_string();
    assert!(damaged.contains("site 'x'"), "{damaged}");
}

#[test]
fn documents_come_in_batches_in_order_and_none_is_left_out() {
    let mut world = World::new();
    for n in 0..BATCH_MAX {
        world.add_host(1, &format!("h{n}"));
    }
    let site = world.sites[1];
    let (mut cursor, mut seen) = (None, 0);
    loop {
        let poll = Poll { cursor, term: None, wait_secs: 0 };
        let answer = world.core.poll(site, &poll, 7).unwrap();
        assert!(answer.documents.len() <= BATCH_MAX && answer.clock_ms == Some(7));
        seen += answer.documents.len();
        cursor = Some(answer.cursor);
        if !answer.more {
            break;
        }
    }
    let all = world
        .core
        .documents()
        .filter(|row| row.document.hosts.iter().any(|h| world.core.host(*h).unwrap().site == site));
    assert_eq!(seen, all.count());
    let again = world.core.poll(site, &Poll { cursor, term: None, wait_secs: 0 }, 7).unwrap();
    assert!(again.documents.is_empty() && !again.more);
    let other =
        cursor.map(|cursor| Cursor { term: farshore_control::Term { number: 9, ..cursor.term }, ..cursor });
    let anew = world.core.poll(site, &Poll { cursor: other, term: None, wait_secs: 0 }, 7).unwrap();
    assert!(anew.more, "a cursor of another term means nothing");
    let newer = farshore_control::Term { number: 9, ..world.core.term() };
    let told = world.core.poll(site, &Poll { cursor, term: Some(newer), wait_secs: 0 }, 7).unwrap_err();
    assert_eq!(told.code, "superseded");
}

//! The whole path with a real guest: one command to the vault moves it to the other site, one
//! brings it home, and nothing that it wrote is lost on either way.

use farshore_e2e::plane::Plane;
use farshore_guest::{Load, read_console};
use farshore_ledger::ConsoleEvent;

use crate::{
    site::{MACHINE, Site, wait},
    vault::{above, newest},
};

/// The guest's boot after `boots` others: whole, and it goes on from its very last record.
fn check_nothing_is_lost(site: &Site, boots: usize) {
    wait("the guest's verdict", || site.verdicts().get(boots).copied());
    let events = read_console(&site.console).unwrap().events;
    let told = |event: &ConsoleEvent| matches!(event, ConsoleEvent::Verdict(_));
    let at = events.iter().enumerate().filter(|(_, event)| told(event)).nth(boots).unwrap().0;
    let [.., ConsoleEvent::Stopped(last), ConsoleEvent::Verdict(verdict)] = &events[..=at] else {
        panic!("it was not shut down in order: {:?}", &events[at.saturating_sub(3)..=at])
    };
    assert!(verdict.is_good() && verdict.last == *last, "stopped at {last}, then {verdict}");
}

fn order(above: &Plane, words: &[&str]) {
    let mut all = vec!["protection"];
    all.extend(words);
    all.push(MACHINE);
    above.operate(&all).unwrap();
}

#[test]
fn one_command_moves_a_guest_to_the_other_site_and_one_brings_it_home() {
    let mut site = Site::new(Load::default());
    let above = above(&site);
    site.start_guest();
    site.home.start_agent().unwrap();
    site.away.start_agent().unwrap();
    wait("the vault to know the guest", || {
        let machines = above.json(&["machines"]).unwrap();
        machines.as_array()?.iter().any(|machine| machine["name"] == MACHINE).then_some(())
    });
    above.operate(&["cloud", "pair", "east", "west"]).unwrap();
    above.operate(&["policy", "add", "gold", "copy-frequency=1s"]).unwrap();
    above.operate(&["cloud", "associate", "east", "--policy", "gold"]).unwrap();
    above.operate(&["protect", MACHINE]).unwrap();
    let protected = wait("points", || above.protection(MACHINE).filter(|p| newest(p).is_some()));
    assert_eq!(protected["source"], "home", "{protected}");

    site.until_guest_goes_on();
    order(&above, &["failover"]);
    check_nothing_is_lost(&site, 1);
    let first = newest(&protected).unwrap();
    let away = wait("points the other way", || {
        above
            .protection(MACHINE)
            .filter(|p| p["source"] == "away" && newest(p).is_some_and(|n| n.epoch > first.epoch))
    });
    order(&above, &["commit"]);
    site.until_guest_goes_on();
    order(&above, &["failback"]);
    check_nothing_is_lost(&site, 2);
    let last = newest(&away).unwrap();
    wait("points from home again", || {
        above
            .protection(MACHINE)
            .filter(|p| p["source"] == "home" && newest(p).is_some_and(|n| n.epoch > last.epoch))
    });
    order(&above, &["commit"]);
}

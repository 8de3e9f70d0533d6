//! Partitions between each pair of parts that speak with each other, real programs on
//! both sides: vault, two site servers, two agents, a guest. Whatever is cut above the agents,
//! replication goes on; what is cut between them costs time; after it all is current.

use farshore_e2e::plane::Plane;
use farshore_guest::Load;

use crate::{
    net::Net,
    site::{MACHINE, Site, wait},
    vault::{above_at, newest},
};

/// The vault knows a point that was made after it could hear again.
fn until_current(site: &Site, above: &Plane, after: &str) {
    let made = site.next_point().id;
    wait(after, || {
        above.protection(MACHINE).filter(|p| newest(p) >= Some(made) && p["state"] == "replicating")
    });
}

/// Two points of instants of a cut.
fn goes_on(site: &Site) {
    let first = site.next_point();
    assert!(site.next_point().id.number > first.id.number);
}

/// The agents themselves: no points meanwhile, and nobody says otherwise.
fn cut_agents(site: &Site, above: &Plane, net: &Net) {
    net.cut("home", "away");
    let last = site.points().into_iter().next_back().unwrap();
    let behind = |p: &serde_json::Value| p["rpo_ms"].as_u64() > Some(10_000);
    let told = wait("the RPO to grow", || above.protection(MACHINE).filter(behind));
    let kept = site.points().into_iter().next_back().unwrap();
    // What was under way when the line was cut may have arrived.
    assert!(kept.id.number <= last.id.number + 1, "{told}");
    net.heal("home", "away");
    until_current(site, above, "replication to go on after the line is back");
}

#[test]
fn every_pair_of_parts_is_cut_in_turn_and_all_is_current_afterwards() {
    let net = Net::new();
    let mut site = Site::new(Load::default());
    site.home.live_in(&net.namespace("home"), &Net::address("home")).unwrap();
    site.away.live_in(&net.namespace("away"), &Net::address("away")).unwrap();
    let above = above_at(&site, net.places());
    site.start_guest();
    site.home.start_agent().unwrap();
    site.away.start_agent().unwrap();
    wait("the vault to know the guest", || {
        let machines = above.json(&["machines"]).unwrap();
        machines.as_array()?.iter().any(|machine| machine["name"] == MACHINE).then_some(())
    });
    above.operate(&["cloud", "pair", "east", "west"]).unwrap();
    above.operate(&["policy", "add", "gold", "copy-frequency=2s"]).unwrap();
    above.operate(&["cloud", "associate", "east", "--policy", "gold"]).unwrap();
    above.operate(&["protect", MACHINE]).unwrap();
    until_current(&site, &above, "the vault to know points");

    // The vault and the site of the machine: the longest cut, so that the site says so. In
    // the meantime each agent loses its site server, and finds it again.
    net.cut("vault", "east");
    goes_on(&site);
    for (server, host) in [("east", "home"), ("west", "away")] {
        net.cut(server, host);
        goes_on(&site);
        net.heal(server, host);
    }
    wait("the site to raise that the vault is silent", || {
        above.log_of("east").contains("the vault is silent").then_some(())
    });
    goes_on(&site);
    assert!(!above.log_of("west").contains("the vault is silent"), "the other site hears it");
    net.heal("vault", "east");
    until_current(&site, &above, "the vault to hear of the machine's site again");
    wait("the site to hear the vault again", || {
        above.log_of("east").contains("the vault answers again").then_some(())
    });

    // The vault and the other site.
    net.cut("vault", "west");
    goes_on(&site);
    net.heal("vault", "west");
    until_current(&site, &above, "the vault to be current after the second cut");

    cut_agents(&site, &above, &net);
    // And everything at once that is above the agents.
    for site in ["east", "west"] {
        net.cut("vault", site);
    }
    net.cut("east", "home");
    net.cut("west", "away");
    goes_on(&site);
    for site in ["east", "west"] {
        net.heal("vault", site);
    }
    net.heal("east", "home");
    net.heal("west", "away");
    until_current(&site, &above, "the vault to be current at the end");
}

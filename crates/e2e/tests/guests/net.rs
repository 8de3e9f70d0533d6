//! A network with a place for each part: namespaces of Linux on one bridge. Between any two
//! the packets can be made to vanish, silently, as where a line is cut far away.

use std::{
    path::Path,
    process::{Command, Output},
};

use farshore_e2e::plane::Places;

/// The parts, each at the address that ends with its place here.
const PARTS: [&str; 6] = ["vault", "east", "west", "home", "away", "promoted"];
/// Before what is this network's own, in the rules that each packet meets.
const LOCAL_RULE: &str = "100";
/// Before that: what vanishes.
const CUT_RULE: &str = "50";

/// The namespaces; they end with it.
pub(crate) struct Net {
    tag: String,
}

impl Net {
    /// Makes it; that needs root, iproute2 and network namespaces.
    pub(crate) fn new() -> Net {
        let net = Net { tag: format!("fs{}", std::process::id()) };
        let hub = net.namespace("hub");
        make(&hub);
        must(&["-n", &hub, "link", "add", "bridge", "type", "bridge"]);
        must(&["-n", &hub, "link", "set", "bridge", "up"]);
        for part in PARTS {
            let own = net.namespace(part);
            make(&own);
            must(&["-n", &hub, "link", "add", part, "type", "veth", "peer", "name", "eth0", "netns", &own]);
            must(&["-n", &hub, "link", "set", part, "master", "bridge", "up"]);
            must(&["-n", &own, "addr", "add", &format!("{}/24", Net::address(part)), "dev", "eth0"]);
            must(&["-n", &own, "link", "set", "eth0", "up"]);
            must(&["-n", &own, "link", "set", "lo", "up"]);
            // What comes for this host meets the first rule before all others: make room.
            must(&["-n", &own, "rule", "add", "pref", LOCAL_RULE, "table", "local"]);
            must(&["-n", &own, "rule", "del", "pref", "0"]);
        }
        net
    }

    /// The namespace of a part.
    pub(crate) fn namespace(&self, part: &str) -> String {
        format!("{}{part}", self.tag)
    }

    /// The address of a part.
    pub(crate) fn address(part: &str) -> String {
        let place = PARTS.iter().position(|known| *known == part).unwrap();
        format!("10.77.0.{}", place + 1)
    }

    /// Where the programs above the agents live.
    pub(crate) fn places(&self) -> Places {
        let place = |part: &&str| ((*part).to_owned(), (self.namespace(part), Net::address(part)));
        PARTS.iter().map(place).collect()
    }

    /// From now on nothing that one of both sends arrives at the other.
    pub(crate) fn cut(&self, one: &str, other: &str) {
        self.between("add", one, other);
    }

    /// Ends a cut.
    pub(crate) fn heal(&self, one: &str, other: &str) {
        self.between("del", one, other);
    }

    /// From now on nothing arrives at any of `those` that is not sent by one of them.
    pub(crate) fn cut_off(&self, those: &[&str]) {
        across(those).for_each(|(one, other)| self.cut(one, other));
    }

    /// Ends that.
    pub(crate) fn join_again(&self, those: &[&str]) {
        across(those).for_each(|(one, other)| self.heal(one, other));
    }

    fn between(&self, verb: &str, one: &str, other: &str) {
        for (at, from) in [(one, other), (other, one)] {
            let from = Net::address(from);
            must(&["-n", &self.namespace(at), "rule", verb, "pref", CUT_RULE, "from", &from, "blackhole"]);
        }
    }
}

/// Pairs of one of `those` and one of the others.
fn across<'a>(those: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let others = move |one: &'a str| {
        PARTS.into_iter().filter(|other| !those.contains(other)).map(move |other| (one, other))
    };
    those.iter().flat_map(move |one| others(one))
}

impl Drop for Net {
    fn drop(&mut self) {
        for part in PARTS.iter().chain(&["hub"]) {
            ip(&["netns", "del", &self.namespace(part)]);
        }
    }
}

/// Makes a namespace: a test that was killed may have left one of that name.
fn make(namespace: &str) {
    ip(&["netns", "del", namespace]);
    must(&["netns", "add", namespace]);
}

fn ip(args: &[&str]) -> Output {
    let program = if Path::new("/usr/sbin/ip").exists() { "/usr/sbin/ip" } else { "ip" };
    Command::new(program).args(args).output().unwrap()
}

fn must(args: &[&str]) {
    let done = ip(args);
    assert!(done.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

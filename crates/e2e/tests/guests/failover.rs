//! A real guest goes to the other site and comes home, each time by one command of an
//! operator: planned first; then the site of the vault is lost with everything in it, the other
//! one becomes the vault, and the guest runs there; then home again. After every move the
//! ledger is whole, and its loss is not more than what was shown before confirming.

use std::{ops::RangeInclusive, time::Instant};

use farshore_agent::control::PointLine;
use farshore_e2e::plane::Plane;
use farshore_guest::{Load, Verdict, read_console};
use farshore_ledger::ConsoleEvent;
use serde_json::Value;

use crate::{
    ledger::last_of,
    net::Net,
    site::{MACHINE, Site, now_ms, wait},
    vault::above_at,
};

/// The site of the vault, with everything in it.
const BURNED: [&str; 3] = ["vault", "east", "home"];

/// A guest that two sites protect from each other, and who orders.
pub(crate) struct Operated {
    pub(crate) site: Site,
    pub(crate) above: Plane,
    /// Where each part lives in a network of its own.
    pub(crate) net: Net,
}

impl Operated {
    pub(crate) fn new() -> Operated {
        Operated::of(Site::new(Load { write_kib_per_second: 128, ..Load::default() }))
    }

    /// The same, with a guest of one's own.
    pub(crate) fn of(mut site: Site) -> Operated {
        let net = Net::new();
        site.home.live_in(&net.namespace("home"), &Net::address("home")).unwrap();
        site.away.live_in(&net.namespace("away"), &Net::address("away")).unwrap();
        let above = above_at(&site, net.places());
        site.start_guest();
        for host in [&mut site.home, &mut site.away] {
            host.configure_more("shutdown_deadline = '120s'\n").unwrap();
            host.start_agent().unwrap();
        }
        let operated = Operated { site, above, net };
        wait("the vault to know the guest", || {
            let machines = operated.above.json(&["machines"]).ok()?;
            machines.as_array()?.iter().any(|machine| machine["name"] == MACHINE).then_some(())
        });
        operated.order(&["cloud", "pair", "east", "west"]);
        operated.order(&["policy", "add", "gold", "copy-frequency=1s"]);
        operated.order(&["cloud", "associate", "east", "--policy", "gold"]);
        operated.order(&["protect", MACHINE]);
        operated
    }

    pub(crate) fn order(&self, args: &[&str]) -> String {
        let begun = Instant::now();
        let said = self.above.operate(args).unwrap_or_else(|why| panic!("{args:?}: {why}"));
        println!("farshore {} ({:?})", args.join(" "), begun.elapsed());
        said
    }

    pub(crate) fn shown(&self) -> Value {
        self.above.json(&["protection", "show", MACHINE]).unwrap()
    }

    /// Orders a move without loss: the guest goes on from its very last record there.
    pub(crate) fn moved(&self, args: &[&str]) -> Verdict {
        self.site.until_guest_goes_on();
        let boots = self.site.verdicts().len();
        let verdict = self.verdict_of(args);
        let events = read_console(&self.site.console).unwrap().events;
        let told = |event: &ConsoleEvent| matches!(event, ConsoleEvent::Verdict(_));
        let at = events.iter().enumerate().filter(|(_, event)| told(event)).nth(boots).unwrap().0;
        let [.., ConsoleEvent::Stopped(last), ConsoleEvent::Verdict(_)] = &events[..=at] else {
            panic!("it was not shut down in order: {:?}", &events[at.saturating_sub(3)..=at])
        };
        assert_eq!(verdict.last, *last, "nothing is lost");
        verdict
    }

    /// `those` are cut off, home among them; there the guest writes on, and dies with its host, as by
    /// a power cut. Gives the newest record that it has told of.
    pub(crate) fn home_burns(&mut self, those: &[&str]) -> u64 {
        self.site.until_guest_goes_on();
        self.net.cut_off(those);
        self.site.until_guest_goes_on();
        let known = self.site.last_known();
        self.site.home.kill_agent();
        let _ = self.site.home.kill_machines();
        known
    }

    /// Fails over unplanned after a disaster. What is lost is exactly what is told before it is
    /// confirmed: the guest comes up at the point of that age, with all that this point has and
    /// nothing more, and `known`, the last that it told of before, is gone.
    pub(crate) fn fails_over(&self, known: u64) {
        let failover = ["protection", "failover", MACHINE, "--unplanned"];
        let (refused, asked) = wait("the vault to have learned", || {
            let newest = self.site.points().last()?.id.to_string();
            let before = now_ms();
            let said = self.above.operate(&failover).unwrap_err();
            let asked = before..=now_ms();
            (!said.contains("learning") && said.contains(&newest)).then_some((said, asked))
        });
        assert!(refused.contains("--accept-data-loss"), "what is lost is told first: {refused}");
        let (secs, told) = self.loss_told(&refused, &asked);
        let last = last_of(&self.site, &told);
        let confirmed = ["--accept-data-loss", "--accept-may-still-run"];
        let ordered = Instant::now();
        let verdict = self.verdict_of(&[&failover[..], &confirmed].concat());
        println!("{secs} s were told, from the order to the verdict: {:?}", ordered.elapsed());
        assert_eq!(self.shown()["details"]["brought_up_at"], told.id.to_string(), "the point that was told");
        assert_eq!(verdict.last, last, "what it has is what that point has");
        assert!(known > last, "something is lost: {known} was written, {secs} s were told");
    }

    fn verdict_of(&self, args: &[&str]) -> Verdict {
        let boots = self.site.verdicts().len();
        self.order(args);
        self.site.verdict_after(boots)
    }

    /// The loss that a refusal tells of, in seconds, and its point; they are true of some instant at
    /// which that was asked.
    fn loss_told(&self, refused: &str, asked: &RangeInclusive<u64>) -> (u64, PointLine) {
        let word = |after: &str| {
            let rest = refused.split_once(after).unwrap_or_else(|| panic!("no '{after}' in: {refused}")).1;
            rest.split([' ', ',']).next().unwrap().to_owned()
        };
        let (secs, id): (u64, String) = (word("the last ").parse().unwrap(), word("the newest point, "));
        let point = self.site.points().into_iter().find(|point| point.id.to_string() == id).unwrap();
        let [least, most] = [asked.start(), asked.end()].map(|at| at.saturating_sub(point.captured_ms));
        // It is told in whole seconds, and as the age at most: reports are on their way for a while.
        let told = secs * 1000;
        let is_true = told + 5_000 > least && told < most + 5_000;
        assert!(is_true, "{secs} s were told, and point {id} was {least} to {most} ms old");
        (secs, point)
    }

    pub(crate) fn until_replicated(&self) {
        wait("replication", || {
            let protection = self.above.protection(MACHINE)?;
            (protection["state"] == "replicating" && protection["rpo_ms"].as_u64() < Some(20_000))
                .then_some(())
        });
    }
}

#[test]
fn a_guest_goes_there_and_home_and_survives_the_loss_of_the_vault_s_site_by_one_command_each() {
    let mut all = Operated::new();
    all.until_replicated();
    let home = all.shown()["source"].clone();

    // Planned, there and home: nothing is lost, and it is protected all the time.
    for (args, away) in
        [(["protection", "failover", MACHINE], true), (["protection", "failback", MACHINE], false)]
    {
        let verdict = all.moved(&args);
        println!("{args:?}: {verdict}");
        assert_eq!(all.shown()["source"] != home, away, "{}", all.shown());
        all.order(&["protection", "commit", MACHINE]);
        all.until_replicated();
    }

    // The site of the vault burns: the vault, its site's server, the host and the guest.
    wait("a warm copy that knows the protection", || {
        let behind = all.above.site_status("west")?["copy"]["behind_ms"].as_u64()?;
        (behind < 5_000).then_some(())
    });
    // Cut off first, then killed: what is written in between is what is lost.
    let known = all.home_burns(&BURNED);
    all.above.kill_all();
    all.above.start("west", &["site", "serve"]).unwrap();
    let lost = Instant::now();
    all.above.promote("west", "promoted").unwrap();
    all.fails_over(known);
    println!("from the loss: {:?}", lost.elapsed());
    all.order(&["protection", "commit", MACHINE]);

    // What burned comes back: the old primary does not start, and what differs leads home.
    all.net.join_again(&BURNED);
    all.site.home.start_agent().unwrap();
    all.above.start("east", &["site", "serve"]).unwrap();
    wait("east to follow the promoted vault", || {
        (all.above.site_status("east")?["term"].as_u64()? >= 2).then_some(())
    });
    wait("home to be heard of, and its replica reversed", || {
        all.above.operate(&["protection", "reverse", MACHINE]).ok()
    });
    all.until_replicated();
    assert!(all.site.home.machine_pids().is_empty(), "the old primary was never started");
    let verdict = all.moved(&["protection", "failback", MACHINE]);
    println!("home again: {verdict}");
    assert_eq!(all.shown()["source"], home);
    all.order(&["protection", "commit", MACHINE]);
}

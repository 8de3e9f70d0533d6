//! The watch: what is shown is never better than the truth, whoever's clock is wrong; alerts
//! are told once; and a restart forgets little.

use farshore_control::{
    report::{
        AppPoints, CycleFacts, CycleTotals, PointAge, Problem, ReplicaPhase, ReplicaState, SourcePhase,
        SourceState,
    },
    sync::SiteReport,
};
use farshore_health::{Level, Subject};
use farshore_policy::{Change, PolicyPatch};
use farshore_types::{Epoch, PointId};
use proptest::prelude::*;

use super::world::{World, id, moment};
use crate::{Bug, Command, Moment, Start, rows::Event};

/// A machine that makes a point every half minute, on hosts whose clocks are wrong.
struct Play {
    world: World,
    /// The true time in milliseconds.
    now: u64,
    /// When points were captured, and came.
    points: Vec<(u64, u64)>,
    /// Milliseconds that the clocks of source and target are ahead.
    skews: [i64; 2],
    /// Milliseconds that a message takes from a host to its site server, and on.
    way: u64,
    source_speaks: bool,
    target_speaks: bool,
    others_speak: bool,
    complaint: Option<Problem>,
    makes_points: bool,
    missed: u64,
    apps: AppPoints,
    app_point: Option<PointId>,
    started: u64,
    run: u128,
}

const CYCLE: u64 = 30_000;
const TOOK: u64 = 2_000;

impl Play {
    fn new(skews: [i64; 2]) -> Play {
        let mut world = World::new();
        world.enable(1);
        world.core.set_channels(vec!["mail".to_owned()]);
        let mut play = Play {
            world,
            now: 120_000,
            points: Vec::new(),
            skews,
            way: 20,
            source_speaks: true,
            target_speaks: true,
            others_speak: true,
            complaint: None,
            makes_points: true,
            missed: 0,
            apps: AppPoints::default(),
            app_point: None,
            started: 0,
            run: 1,
        };
        play.look();
        play
    }

    fn at(&self) -> Moment {
        let ms = self.now - self.started;
        Moment { wall_ms: moment(0).wall_ms + self.now, mono_ms: ms, ..moment(self.now) }
    }

    fn true_age(&self) -> Option<u64> {
        let came = self.points.iter().rev().find(|(captured, took)| captured + took <= self.now)?;
        Some(self.now - came.0)
    }

    fn shown_age(&self) -> Option<u64> {
        let row = self.world.core.protection(id(1)).unwrap();
        self.world.core.judge(row, &self.at()).newest.map(|(_, age)| age)
    }

    fn newest(&self, when: u64) -> Option<(PointId, u64)> {
        let number = self.points.iter().rposition(|(captured, took)| captured + took <= when)?;
        Some((PointId { epoch: 1, number: number as u64 + 1 }, self.points[number].0))
    }

    /// Everybody reports what was so a moment ago; the vault looks.
    fn look(&mut self) {
        let row = self.world.core.protection(id(1)).unwrap().clone();
        let measured = self.now - 2 * self.way;
        let newest = self.newest(measured);
        let begin = moment(0).wall_ms;
        let by = |skew: i64| (begin + measured).saturating_add_signed(skew);
        let others = self.world.hosts.iter().filter(|host| !row.hosts().contains(host));
        let others: Vec<_> = others.map(|host| (*host, self.others_speak, 0)).collect();
        let ends = [
            (row.source(), self.source_speaks, self.skews[0]),
            (row.target(), self.target_speaks, self.skews[1]),
        ];
        for (host, speaks, skew) in ends.into_iter().chain(others) {
            if !speaks {
                continue;
            }
            let agent = self.world.agents.get_mut(&host).unwrap();
            let mut report = agent.report(false);
            report.run = uuid::Uuid::from_u128(self.run);
            (report.clock_ms, report.transit_ms) = (by(skew), self.way);
            if host == row.source() {
                let age = |captured: u64| measured - captured;
                report.sources = vec![self.source_state(newest.map(|(id, at)| (id, age(at))))];
            } else if host == row.target() {
                // By its own clock, from an instant of the source's.
                let captured_by = |captured: u64| (begin + captured).saturating_add_signed(self.skews[0]);
                let age = |captured: u64| by(skew).saturating_sub(captured_by(captured));
                let mut replica = replica_state(newest.map(|(id, at)| (id, age(at))));
                replica.newest_application = self.app_point.map(|id| {
                    let captured = self.points[usize::try_from(id.number).unwrap() - 1].0;
                    PointAge { id, age_ms: age(captured) }
                });
                report.replicas = vec![replica];
            }
            let site = self.world.agents[&host].site;
            let problems = self.complaint.iter().filter(|_| site == self.world.sites[0]).cloned().collect();
            let (clock_ms, transit_ms) = (self.at().wall_ms, self.way);
            let report = SiteReport {
                site,
                version: "1".to_owned(),
                clock_ms,
                transit_ms,
                problems,
                hosts: vec![(0, report)],
            };
            self.world.core.site_report(&report, &self.at()).unwrap();
        }
        self.world.core.watch_over(&self.at());
        self.world.commit();
    }

    fn source_state(&self, newest: Option<(PointId, u64)>) -> SourceState {
        let cycles = self.points.len() as u64;
        SourceState {
            machine: id(1),
            epoch: Epoch { number: 1, token: 0 },
            phase: SourcePhase::Replicating,
            newest: newest.map(|(id, age_ms)| PointAge { id, age_ms }),
            totals: CycleTotals { cycles, missed: self.missed, ..CycleTotals::default() },
            last_cycle: newest.map(|(point, _)| CycleFacts { point, dirty: 0, sent: 5, took_ms: TOOK }),
            pending: 0,
            resynced: 0,
            notes: Vec::new(),
            apps: Some(self.apps.clone()),
        }
    }

    /// Lets time pass, with a report every ten seconds.
    fn pass(&mut self, secs: u64) {
        for _ in 0..secs {
            self.now += 1000;
            if self.now.is_multiple_of(CYCLE) && self.makes_points {
                self.points.push((self.now, TOOK));
            }
            if self.now.is_multiple_of(10_000) {
                self.look();
            } else {
                self.world.core.watch_over(&self.at());
                self.world.commit();
            }
        }
    }

    /// The vault is killed, and starts again after a while.
    fn restart(&mut self, after_secs: u64) {
        let samples = self.world.core.samples(true, &self.at());
        let bug = self.world.core.bug_of_tests();
        self.now += after_secs * 1000;
        self.started = self.now;
        self.world.start(self.world.stored.clone(), Start::Continued);
        if let Some(bug) = bug {
            self.world.core = self.world.core.clone().with_bug(bug);
        }
        self.world.core.set_channels(vec!["mail".to_owned()]);
        for sample in samples {
            self.world.core.restore_sample(sample.series, &sample.subject, &sample.body);
        }
    }

    fn told(&self) -> Vec<(Event, String)> {
        let told = |row: &crate::rows::NoticeRow| (row.event, row.alert.reason.code.clone());
        self.world.core.notices().map(told).collect()
    }

    fn open(&self) -> Vec<String> {
        let open = self.world.core.alerts().filter(|row| row.is_open());
        open.map(|row| row.reason.code.clone()).collect()
    }
}

fn replica_state(newest: Option<(PointId, u64)>) -> ReplicaState {
    ReplicaState {
        machine: id(1),
        name: "m1".to_owned(),
        epoch: Epoch { number: 1, token: 0 },
        phase: ReplicaPhase::Receiving,
        newest: newest.map(|(id, age_ms)| PointAge { id, age_ms }),
        consistency: None,
        oldest: None,
        points: 1,
        stored: 1,
        faults: Vec::new(),
        own_writes: Vec::new(),
        newest_application: None,
    }
}

/// Plays a source that dies; the worst by which an age was shown too small.
fn flattered(skews: [i64; 2], bug: Option<Bug>) -> u64 {
    let mut play = Play::new(skews);
    if let Some(bug) = bug {
        play.world.core = play.world.core.clone().with_bug(bug);
    }
    let mut worst = 0;
    for second in 0..200 {
        play.pass(1);
        // The source's agent falls silent after it has made a point that it has not told of.
        play.source_speaks = second < 95;
        play.makes_points = second < 125;
        if let (Some(shown), Some(truth)) = (play.shown_age(), play.true_age()) {
            // What the vault has not been told of cannot be shown, and is newer.
            worst = worst.max(truth.saturating_sub(shown));
        }
    }
    assert!(play.shown_age().is_some(), "it is shown at all");
    worst
}

#[test]
fn no_clock_that_is_wrong_makes_a_point_younger_and_a_vault_that_trusts_them_is_found_out() {
    assert_eq!(flattered([0, 0], None), 0);
    assert_eq!(flattered([0, -60_000], None), 0);
    assert!(flattered([0, -60_000], Some(Bug::TrustsAnyClock)) > 50_000);
    assert!(flattered([60_000, 0], Some(Bug::TrustsAnyClock)) > 50_000);
}

#[test]
fn a_target_whose_clock_is_ahead_makes_no_point_older_than_the_one_before_it() {
    let mut play = Play::new([0, 3_600_000]);
    play.pass(100);
    assert_eq!(play.shown_age().unwrap() / 1000, play.true_age().unwrap() / 1000, "the source's word counts");
    play.source_speaks = false;
    play.pass(100);
    assert!(play.shown_age().unwrap() < 150_000, "{:?}", play.shown_age());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_the_clocks_say_nothing_is_flattered(source in -500_000i64..500_000, target in -500_000i64..500_000) {
        prop_assert_eq!(flattered([source, target], None), 0);
    }
}

#[test]
fn what_a_replica_has_lost_is_not_shown_as_held() {
    let mut play = Play::new([0, 0]);
    play.pass(100);
    play.source_speaks = false;
    // The target's disk comes back from yesterday.
    play.points = vec![(1_000, TOOK)];
    play.makes_points = false;
    play.pass(20);
    assert!(play.shown_age().unwrap() >= 200_000);
    let row = play.world.core.protection(id(1)).unwrap();
    assert_eq!(play.world.core.judge(row, &play.at()).newest.unwrap().0.number, 1);
}

#[test]
fn an_alert_is_told_once_outlives_the_vault_and_resolves_itself() {
    for bug in [None, Some(Bug::TellsAgain)] {
        let mut play = Play::new([0, 0]);
        if let Some(bug) = bug {
            play.world.core = play.world.core.clone().with_bug(bug);
        }
        play.pass(200);
        assert_eq!(play.open(), Vec::<String>::new());
        assert!(play.told().is_empty());
        // One host goes: its own alert says so, and not that of the protection, too.
        play.source_speaks = false;
        play.pass(400);
        assert_eq!(play.open(), ["agent-silent"]);
        let row = play.world.core.alerts().find(|row| row.is_open()).unwrap().clone();
        let source = play.world.core.protection(id(1)).unwrap().source();
        assert_eq!((row.subject, row.reason.level), (Subject::Host(source), Level::Critical));
        assert!(play.world.core.alert_text(&row).contains("min"), "{}", play.world.core.alert_text(&row));
        play.world.core.acknowledge(row.id, "ops", &play.at()).unwrap();
        play.world.commit();
        play.restart(5);
        play.pass(300);
        assert_eq!(play.open(), ["agent-silent"]);
        let raised = play.told().iter().filter(|(event, _)| *event == Event::Raised).count();
        if bug.is_some() {
            assert_eq!(raised, 2, "the bug is found out");
            continue;
        }
        assert_eq!(raised, 1, "what was told is not told again: {:?}", play.told());
        assert_eq!(play.world.core.alert(row.id).unwrap().acknowledged.as_ref().unwrap().by, "ops");
        play.source_speaks = true;
        play.pass(150);
        let all = [(Event::Raised, "agent-silent".to_owned()), (Event::Resolved, "agent-silent".to_owned())];
        assert_eq!(play.told(), all);
        let numbers: Vec<u64> = play.world.core.notices().map(|row| row.number).collect();
        play.world.core.notices_sent("mail", &numbers);
        play.world.commit();
        assert!(play.told().is_empty());
        assert!(play.world.core.alert(row.id).unwrap().resolved_ms.is_some(), "it can be looked up still");
    }
}

#[test]
fn a_silent_site_is_one_alert() {
    let mut play = Play::new([0, 0]);
    play.pass(100);
    (play.source_speaks, play.target_speaks) = (false, false);
    (play.others_speak, play.makes_points) = (false, false);
    play.pass(400);
    assert_eq!(play.open(), ["site-silent", "site-silent"], "two sites, and no host nor machine");
    play.pass(3600);
    assert!(play.open().contains(&"rpo-missed".to_owned()), "an hour without a point is");
}

#[test]
fn a_site_that_says_what_is_wrong_with_it_is_listened_to() {
    let mut play = Play::new([0, 0]);
    play.pass(200);
    play.complaint = Some(Problem {
        code: "vault-was-silent".to_owned(),
        what: "the vault did not answer for 10 min".to_owned(),
        advice: "look at the line".to_owned(),
    });
    play.pass(200);
    assert_eq!(play.told(), [(Event::Raised, "vault-was-silent".to_owned())]);
    play.complaint = None;
    play.pass(100);
    assert_eq!(play.told().len(), 2, "{:?}", play.told());
    assert_eq!(play.open(), Vec::<String>::new());
}

#[test]
fn missed_cycles_are_counted_over_half_a_day_and_a_restart_counts_none_twice() {
    let mut play = Play::new([0, 0]);
    play.pass(3000);
    let before = play.world.core.cycles_of(id(1), &play.at());
    assert_eq!((before.totals.cycles, before.missed_share()), (100, Some(0.0)));
    play.restart(10);
    play.missed += 40;
    play.pass(300);
    let after = play.world.core.cycles_of(id(1), &play.at());
    assert_eq!((after.totals.missed, after.totals.cycles / 10), (40, 11));
    let row = play.world.core.protection(id(1)).unwrap();
    let health = play.world.core.judge(row, &play.at()).health;
    assert!(health.reasons.iter().any(|reason| reason.code == "cycles-missed"), "{health:?}");
    // Another run of the agent begins at zero.
    (play.run, play.missed) = (2, 3);
    play.points.clear();
    play.pass(20);
    assert_eq!(play.world.core.cycles_of(id(1), &play.at()).totals.missed, 43);
}

#[test]
fn the_history_of_the_rpo_is_what_was_and_survives_a_restart() {
    let mut play = Play::new([0, 0]);
    play.pass(3600);
    let hour = |play: &Play| play.world.core.rpo_over(id(1), 3_600_000, &play.at()).unwrap();
    let told = hour(&play);
    // Every half minute, and two seconds until it is durable; told of after up to ten more.
    assert!((32_000..45_000).contains(&told.worst_ms), "{told:?}");
    assert!((14_000..28_000).contains(&told.p50_ms), "{told:?}");
    play.makes_points = false;
    play.pass(600);
    let worst = hour(&play).worst_ms;
    assert!(worst >= 600_000, "{worst}");
    let over_ms = hour(&play).over_ms;
    play.restart(60);
    play.pass(20);
    let again = hour(&play);
    assert!(again.worst_ms >= worst + 60_000, "the newest point tells of the gap: {again:?}");
    assert!(again.over_ms >= over_ms + 60_000, "{again:?} {over_ms}");
}

#[test]
fn samples_come_in_batches_and_not_with_every_report() {
    let mut play = Play::new([0, 0]);
    let mut batches = 0;
    for _ in 0..3600 {
        play.pass(1);
        batches += usize::from(!play.world.core.samples(false, &play.at()).is_empty());
    }
    assert!((8..=16).contains(&batches), "{batches} in an hour");
}

#[test]
fn notices_for_a_channel_that_is_no_more_go() {
    let mut play = Play::new([0, 0]);
    play.source_speaks = false;
    play.pass(300);
    assert!(!play.told().is_empty());
    play.world.core.set_channels(vec!["other".to_owned()]);
    play.world.core.drop_lost_notices();
    play.world.commit();
    assert!(play.told().is_empty());
}

#[test]
fn application_consistent_points_that_fail_or_stay_away_are_told_where_the_policy_wants_them() {
    let mut play = Play::new([0, 3000]);
    let app = |open: Vec<String>| open.iter().any(|code| code == "app-consistency");
    play.apps.fault = Some("no agent".to_owned());
    play.pass(200);
    assert!(!app(play.open()), "nobody wants them");
    let settings = PolicyPatch { app_consistent_secs: Change::Set(Some(300)), ..PolicyPatch::default() };
    play.world.run(&Command::ChangePolicy { policy: play.world.policy, settings });
    play.pass(200);
    assert!(app(play.open()), "the last try came to none");

    play.apps.fault = None;
    play.app_point = play.newest(play.now).map(|(id, _)| id);
    play.pass(400);
    assert!(!app(play.open()), "one was made");
    let row = play.world.core.protection(id(1)).unwrap();
    let (newest, age) = play.world.core.judge(row, &play.at()).newest_application.unwrap();
    assert_eq!(Some(newest), play.app_point);
    let captured = play.points[usize::try_from(newest.number).unwrap() - 1].0;
    assert!(age >= play.now - captured, "{age}: whatever the clocks say");
    // No other one is made, though points come.
    play.pass(600);
    assert!(app(play.open()));

    play.apps.unthawed = Some("it says nothing".to_owned());
    play.pass(60);
    assert!(play.open().iter().any(|code| code == "guest-frozen"));
}

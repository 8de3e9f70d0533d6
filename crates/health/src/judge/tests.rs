//! Signs, and what follows from them.

use farshore_control::report::CycleTotals;

use super::*;

fn well() -> ProtectionSigns<'static> {
    ProtectionSigns { has_point: true, age_ms: Some(3000), enabled_ms: 100_000_000, ..Default::default() }
}

fn codes(health: &Health) -> Vec<&str> {
    health.reasons.iter().map(|r| r.code.as_str()).collect()
}

#[test]
fn a_protection_that_is_well_has_no_reasons() {
    assert_eq!(of_protection(&well()), Health::default());
}

#[test]
fn every_sign_has_its_reason_and_the_worst_counts_and_comes_first() {
    let faults = ["delta 1-2 is damaged".to_owned()];
    let totals = CycleTotals { cycles: 79, missed: 21, ..CycleTotals::default() };
    let signs = ProtectionSigns {
        intent: Some(Intent::Pause),
        app_secs: Some(3600),
        app_fault: Some("x"),
        unthawed: Some("x"),
        cycles: CycleStats { totals, ..CycleStats::default() },
        resync_needed: Some("x"),
        resyncing: Some("x"),
        retrying: Some("x"),
        failed: Some("x"),
        faults: &faults,
        source_silent_ms: SILENT_MS,
        target_silent_ms: SILENT_MS,
        conflict: true,
        age_ms: Some(POINT_AGE_MAX_MS + 1),
        ..well()
    };
    let health = of_protection(&signs);
    let all = [
        "owner-conflict",
        "failed",
        "resync-needed",
        "rpo-missed",
        "guest-frozen",
        "damaged",
        "retrying",
        "resyncing",
        "paused",
        "source-silent",
        "target-silent",
        "cycles-missed",
        "app-consistency",
    ];
    assert_eq!(codes(&health), all);
    assert_eq!(health.level, Level::Critical);
    assert!(health.reasons.iter().all(|r| !r.what.is_empty() && !r.advice.is_empty()));
    let ended = of_protection(&ProtectionSigns { has_point: false, age_ms: None, enabled_ms: 5, ..well() });
    assert_eq!((codes(&ended), ended.level), (vec!["initial-copy"], Level::Warning));
}

#[test]
fn twenty_per_cent_missed_is_still_well() {
    let totals = CycleTotals { cycles: 80, missed: 20, ..CycleTotals::default() };
    let cycles = CycleStats { totals, ..CycleStats::default() };
    assert_eq!(of_protection(&ProtectionSigns { cycles, ..well() }), Health::default());
}

#[test]
fn an_objective_counts_for_what_it_says() {
    let at = |age_ms, objective_secs| {
        let age_ms = Some(age_ms);
        of_protection(&ProtectionSigns { age_ms, objective_secs, ..well() }).level
    };
    assert_eq!(at(60_000, Some(60)), Level::Normal);
    assert_eq!(at(60_001, Some(60)), Level::Warning);
    assert_eq!(at(600_001, Some(60)), Level::Critical);
    assert_eq!(at(3_600_000, None), Level::Normal);
    assert_eq!(at(3_600_001, None), Level::Critical);
    // Whoever asks for no more than a point in four hours is well after two.
    assert_eq!(at(2 * 3_600_000, Some(4 * 3600)), Level::Normal);
    assert_eq!(at(5 * 3_600_000, Some(4 * 3600)), Level::Critical);
    // A point that never came is missed from when it was enabled.
    let none = ProtectionSigns { has_point: false, age_ms: None, objective_secs: Some(60), ..well() };
    assert!(codes(&of_protection(&none)).contains(&"rpo-missed"));
}

#[test]
fn a_host_says_what_is_wrong_with_it() {
    let space = [
        Space { path: "/r".into(), of: "replicas".into(), free: 2, total: 100 },
        Space { path: "/s".into(), of: "scratch".into(), free: 9, total: 100 },
        Space { path: "/t".into(), of: "scratch".into(), free: 10, total: 100 },
        Space { path: "/none".into(), of: "scratch".into(), free: 0, total: 0 },
    ];
    let said = Problem { code: "libvirt".into(), what: "is away".into(), advice: "start it".into() };
    let signs = HostSigns {
        silent_ms: SILENT_MS,
        skew_ms: SKEW_WARNING_MS,
        certificate_left_ms: Some(0),
        space: &space,
        problems: std::slice::from_ref(&said),
        maintenance: false,
    };
    let health = of_host(&signs);
    let all = ["agent-silent", "certificate", "space-low", "clock-skew", "space-low", "libvirt"];
    assert_eq!(codes(&health), all);
    assert!(health.reasons[1].what.contains("has ended"));
    let quiet = of_host(&HostSigns { maintenance: true, certificate_left_ms: None, ..signs });
    assert_eq!((quiet.level, codes(&quiet).as_slice()), (Level::Normal, ["maintenance"].as_slice()));
    let quiet = |silent_ms| SiteSigns { silent_ms, ..SiteSigns::default() };
    assert_eq!(of_site(&quiet(Some(SILENT_MS - 1))), Health::default());
    assert_eq!(of_site(&quiet(None)), Health::default());
    let skewed = SiteSigns {
        skew_ms: SKEW_CRITICAL_MS,
        problems: std::slice::from_ref(&said),
        ..quiet(Some(SILENT_MS))
    };
    assert_eq!(codes(&of_site(&skewed)), ["site-silent", "clock-skew", "libvirt"]);
}

#[test]
fn times_read_like_times() {
    let told = [5, 5_000, 65_000, 3_700_000, 90_000_000].map(time);
    assert_eq!(told, ["5 ms", "5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]);
}

#[test]
fn application_consistent_points_are_told_of_where_they_fail_or_stay_away_while_others_come() {
    let signs = ProtectionSigns { app_secs: Some(3600), ..well() };
    let hours = |n: u64| Some(n * 3_600_000);
    let told = |signs: &ProtectionSigns<'_>| {
        of_protection(signs).reasons.into_iter().map(|r| r.what).collect::<Vec<_>>()
    };
    let new = ProtectionSigns { enabled_ms: 7_200_000, ..signs.clone() };
    assert_eq!(told(&new), Vec::<String>::new(), "the first one is still to come");
    let never = told(&ProtectionSigns { enabled_ms: 10_800_000, ..signs.clone() });
    assert_eq!(never, ["there is no application-consistent point; the policy wants one every 1 h 0 min"]);
    let seeding =
        ProtectionSigns { has_point: false, age_ms: None, objective_secs: Some(360_000), ..signs.clone() };
    assert!(!codes(&of_protection(&seeding)).contains(&"app-consistency"));
    assert_eq!(told(&ProtectionSigns { app_age_ms: hours(2), ..signs.clone() }), Vec::<String>::new());
    let late = told(&ProtectionSigns { app_age_ms: hours(3), ..signs.clone() });
    assert_eq!(
        late,
        ["the newest application-consistent point is 3 h 0 min old; the policy wants one every 1 h 0 min"]
    );
    // A machine that is off has no newer points of any kind.
    let off = ProtectionSigns {
        app_age_ms: hours(30),
        age_ms: hours(30),
        objective_secs: Some(360_000),
        ..signs.clone()
    };
    assert_eq!(told(&off), Vec::<String>::new());
    let failed = told(&ProtectionSigns { app_fault: Some("no agent"), ..signs.clone() });
    assert_eq!(
        failed,
        ["points are crash-consistent only, there is no application-consistent point: no agent"]
    );
    let unwanted = ProtectionSigns { app_secs: None, app_fault: Some("x"), ..signs };
    assert_eq!(of_protection(&unwanted), Health::default());
}

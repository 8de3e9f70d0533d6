//! Every setting: its default, both ends of its range and what lies just beyond, its text,
//! its way into a change and out of it, and what the agents get of it.

mod any;
mod calendar;
mod changes;
mod sent;

use super::*;

/// A good and a bad text of every setting. A setting without its line fails the test below.
const SAMPLES: &[(&str, &[&str], &[&str])] = &[
    ("copy_frequency_secs", &["1s", "1h", "90"], &["0s", "3601s"]),
    ("app_consistent_secs", &["off", "1m", "59m", "1h", "2h", "12h"], &["59s", "90m", "13h", "5h1s"]),
    ("keep_every_point_secs", &["0s", "1d"], &["32d"]),
    ("keep_hourly_secs", &["0s", "7d", "1h"], &["30m", "367d"]),
    ("keep_daily_secs", &["0s", "3660d", "1d"], &["1h", "3661d"]),
    ("points_max", &["1", "65000"], &["0", "65001"]),
    ("compression", &["auto", "on", "off"], &[]),
    ("replica_compression", &["on", "off"], &[]),
    ("small_writes", &["on", "off"], &[]),
    ("wire", &["certificate", "kerberos"], &[]),
    ("bandwidth", &["unlimited", "64KiB/s", "125GB/s", "10Mbit"], &["0", "65535", "126GB"]),
    (
        "bandwidth_windows",
        &["none", "daily 00:00-24:00 unlimited", "mon-fri 22:00-06:00 1MB/s; sat,sun 08:00-09:00 2MB"],
        &["daily 08:00-08:00 1MB", "daily 24:00-06:00 1MB", "mon 08:00-09:00 0", "mon 08:00-09:00 1kB"],
    ),
    ("auto_resync", &["on", "off"], &[]),
    ("resync_window", &["any", "18:30-06:00"], &[]),
    ("rpo_objective_secs", &["off", "30s", "7d"], &["29s", "8d"]),
    ("initial", &["now", "at 22:15", "offline", "existing"], &[]),
    ("on_disable", &["keep", "delete"], &[]),
    ("auto_protect", &["on", "off"], &[]),
];

fn with(name: &str, value: &str) -> Result<Policy, Invalid> {
    let mut patch = PolicyPatch::default();
    setting(name).unwrap().set(&mut patch, value).unwrap();
    patch.apply(&Policy::default())
}

#[test]
fn every_setting_has_its_samples_and_the_table_has_every_setting() {
    let sampled: Vec<_> = SAMPLES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(sampled, SETTINGS.iter().map(|s| s.name).collect::<Vec<_>>());
    let whole = serde_json::to_value(Policy::default()).unwrap();
    let fields: Vec<_> = whole.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.len(), SETTINGS.len());
    assert!(SETTINGS.iter().all(|s| fields.contains(&s.name)), "{fields:?}");
}

#[test]
fn the_tables_defaults_are_the_defaults_and_are_allowed() {
    Policy::default().check().unwrap();
    assert_eq!(Policy::default().warnings(), []);
    for setting in SETTINGS {
        assert_eq!(setting.get(&Policy::default()), setting.default, "{setting:?}");
        assert!(!setting.help.is_empty() && !setting.range.is_empty(), "{setting:?}");
    }
}

#[test]
fn every_good_value_is_taken_and_read_back() {
    for (name, good, _) in SAMPLES {
        for value in *good {
            let policy = with(name, value).unwrap_or_else(|e| panic!("{name} = {value}: {e}"));
            let text = setting(name).unwrap().get(&policy);
            assert_eq!(with(name, &text).unwrap(), policy, "{name} = {value} = {text}");
        }
    }
}

#[test]
fn every_bad_value_is_refused_by_the_settings_name_with_value_range_and_advice() {
    for (name, _, bad) in SAMPLES {
        for value in *bad {
            let refused = with(name, value).expect_err(&format!("{name} = {value}"));
            let problem = refused.problems.iter().find(|p| p.setting == *name);
            let problem = problem.unwrap_or_else(|| panic!("{name} = {value}: {refused}"));
            assert!(!problem.allowed.is_empty() && !problem.advice.is_empty());
            assert!(refused.to_string().contains(&format!("{name} is {}", problem.value)));
        }
    }
}

#[test]
fn a_text_of_the_wrong_kind_is_refused_with_what_is_allowed() {
    for setting in SETTINGS {
        let mut patch = PolicyPatch::default();
        let told = setting.set(&mut patch, "perhaps").unwrap_err();
        assert!(told.contains(setting.range) && told.contains(setting.flag), "{told}");
        assert!(patch.is_empty(), "{setting:?}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let policy = Policy {
        copy_frequency_secs: 0,
        points_max: 0,
        keep_hourly_secs: 1,
        bandwidth: Some(1),
        app_consistent_secs: Some(5),
        ..Policy::default()
    };
    let problems = policy.check().unwrap_err().problems;
    let mut names: Vec<_> = problems.iter().map(|p| p.setting).collect();
    names.dedup();
    assert_eq!(
        names,
        ["copy_frequency_secs", "points_max", "app_consistent_secs", "bandwidth", "keep_hourly_secs"]
    );
    assert_eq!(problems[0].to_string(), "copy_frequency_secs is 0s; allowed: 1s to 1h; the nearest is 1s");
}

#[test]
fn settings_that_stand_against_each_other_are_refused() {
    let slow = Policy { copy_frequency_secs: 600, ..Policy::default() };
    let often = Policy { app_consistent_secs: Some(300), ..slow.clone() };
    assert_eq!(often.check().unwrap_err().problems[0].setting, "app_consistent_secs");
    let strict = Policy { rpo_objective_secs: Some(599), ..slow.clone() };
    assert_eq!(strict.check().unwrap_err().problems[0].setting, "rpo_objective_secs");
    Policy { rpo_objective_secs: Some(600), app_consistent_secs: Some(600), ..slow }.check().unwrap();
    let many =
        RateWindow { days: Days::ALL, from: Minute::default(), until: Minute::MIDNIGHT, bandwidth: None };
    let windows = Policy { bandwidth_windows: vec![many; limits::WINDOWS_MAX + 1], ..Policy::default() };
    assert!(windows.check().unwrap_err().to_string().contains("up to 64 windows, there are 65"));
}

#[test]
fn a_count_that_cuts_the_ages_short_is_warned_of() {
    let dense = Policy { copy_frequency_secs: 1, keep_every_point_secs: 7200, ..Policy::default() };
    dense.check().unwrap();
    assert_eq!(dense.warnings()[0].setting, "points_max");
    let idle = Policy {
        auto_resync: false,
        resync_window: with("resync_window", "01:00-02:00").unwrap().resync_window,
        ..Policy::default()
    };
    assert_eq!(idle.warnings()[0].setting, "resync_window");
}

#[test]
fn an_unknown_setting_names_those_that_there_are() {
    let told = setting("frequency").unwrap_err().to_string();
    assert!(told.contains("'frequency'") && told.contains("copy-frequency, app-consistent"), "{told}");
    assert_eq!(setting("copy-frequency").unwrap().name, "copy_frequency_secs");
}

/// The page for people has exactly the table that the code has. `FARSHORE_WRITE_DOCS=1` in
/// the environment writes it instead.
#[test]
fn the_page_of_the_settings_is_the_table_of_the_settings() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policies.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- settings -->\n").unwrap();
    let (table, after) = rest.split_once("<!-- end -->\n").unwrap();
    if std::env::var_os("FARSHORE_WRITE_DOCS").is_some() {
        let page = format!("{before}<!-- settings -->\n{}<!-- end -->\n{after}", reference());
        std::fs::write(path, page).unwrap();
    } else {
        assert_eq!(table, reference(), "docs/policies.md: run this test with FARSHORE_WRITE_DOCS=1");
    }
}

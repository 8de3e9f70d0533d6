//! Changing some settings, and telling what changed.

use proptest::prelude::*;

use super::any::policy;
use crate::{Change, Policy, PolicyPatch, SETTINGS, diff, setting};

fn parsed(json: &str) -> PolicyPatch {
    serde_json::from_str(json).unwrap()
}

#[test]
fn not_named_cleared_and_set_are_three_things() {
    let old = Policy { bandwidth: Some(1_000_000), copy_frequency_secs: 60, ..Policy::default() };
    assert_eq!(parsed("{}").apply(&old).unwrap(), old);
    assert_eq!(parsed(r#"{"bandwidth": null}"#).apply(&old).unwrap().bandwidth, None);
    assert_eq!(parsed(r#"{"bandwidth": 70000}"#).apply(&old).unwrap().bandwidth, Some(70_000));
    let back = parsed(r#"{"copy_frequency_secs": null}"#).apply(&old).unwrap();
    assert_eq!(back, Policy { copy_frequency_secs: 30, ..old });
}

#[test]
fn a_change_survives_its_json() {
    for json in
        ["{}", r#"{"bandwidth":null}"#, r#"{"bandwidth":70000,"initial":{"how":"at","minute":"22:00"}}"#]
    {
        let patch = parsed(json);
        assert_eq!(serde_json::to_string(&patch).unwrap(), json);
    }
    assert!(
        serde_json::from_str::<PolicyPatch>(r#"{"copy_frequency":1}"#).is_err(),
        "unknown names are refused"
    );
}

#[test]
fn a_change_that_is_not_allowed_changes_nothing() {
    let old = Policy::default();
    let patch = PolicyPatch { copy_frequency_secs: Change::Set(7200), ..PolicyPatch::default() };
    assert_eq!(patch.apply(&old).unwrap_err().problems[0].setting, "copy_frequency_secs");
    assert_eq!(old, Policy::default());
}

#[test]
fn clearing_takes_every_setting_back_to_its_default() {
    for setting in SETTINGS {
        let mut patch = PolicyPatch::default();
        setting.clear(&mut patch);
        assert_eq!(patch.names(), [setting.name]);
        let cleared = patch.apply(&Policy::default()).unwrap();
        assert_eq!(cleared, Policy::default());
    }
}

#[test]
fn what_changed_is_told_a_line_a_setting() {
    let old = Policy::default();
    let new = Policy { copy_frequency_secs: 300, bandwidth: Some(10_000_000), ..Policy::default() };
    assert_eq!(diff(&old, &new), "copy-frequency: 30s -> 5m\nbandwidth: unlimited -> 10MB/s");
    assert_eq!(diff(&old, &old), "");
}

proptest! {
    #[test]
    fn an_allowed_policy_survives_json_and_the_text_of_every_setting(policy in policy()) {
        prop_assert!(policy.check().is_ok(), "{}", policy.check().unwrap_err());
        let json = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Policy>(&json).unwrap(), &policy);
        let mut patch = PolicyPatch::default();
        for setting in SETTINGS {
            setting.set(&mut patch, &setting.get(&policy)).unwrap();
        }
        prop_assert_eq!(patch.apply(&Policy::default()).unwrap(), policy);
    }

    #[test]
    fn the_change_between_two_policies_makes_the_one_of_the_other(old in policy(), new in policy()) {
        let patch = PolicyPatch::between(&old, &new);
        prop_assert_eq!(&patch.apply(&old).unwrap(), &new);
        let lines = diff(&old, &new);
        prop_assert_eq!(lines.lines().count(), patch.names().len());
        for name in patch.names() {
            let setting = setting(name).unwrap();
            let line = format!("{}: {} -> {}", setting.flag, setting.get(&old), setting.get(&new));
            prop_assert!(lines.lines().any(|l| l == line), "{}", line);
        }
        // Again it changes nothing more.
        prop_assert_eq!(&patch.apply(&new).unwrap(), &new);
    }

    #[test]
    fn no_text_is_too_strange_for_a_setting(text in "\\PC{0,40}") {
        for setting in SETTINGS {
            let mut patch = PolicyPatch::default();
            if setting.set(&mut patch, &text).is_ok() {
                // Read is not yet allowed; that must be answered, too.
                let _ = patch.apply(&Policy::default());
            }
        }
    }

    #[test]
    fn any_number_is_allowed_or_named(copy in any::<u64>(), every in any::<u64>(), hourly in any::<u64>(), daily in any::<u64>(), app in any::<Option<u64>>()) {
        let policy = Policy {
            copy_frequency_secs: copy, keep_every_point_secs: every, keep_hourly_secs: hourly,
            keep_daily_secs: daily, app_consistent_secs: app, ..Policy::default()
        };
        let _ = policy.warnings();
        if let Err(invalid) = policy.check() {
            prop_assert!(invalid.problems.iter().all(|p| SETTINGS.iter().any(|s| s.name == p.setting)));
        }
    }
}

//! Whether a policy's values are allowed, alone and together: everything that is wrong, at
//! once, each with the setting, its value, what is allowed and what to do. This module must
//! never change a value.

use std::{fmt, ops::RangeInclusive};

use serde::Serialize;
use thiserror::Error;

use crate::{Policy, RateWindow, limits, setting::value_text, text};

/// One setting that is wrong, or that will not do what its value says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The setting.
    pub setting: &'static str,
    /// Its value, as people write it.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { setting, value, allowed, advice } = self;
        write!(f, "{setting} is {value}; allowed: {allowed}; {advice}")
    }
}

/// A policy cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Invalid {
    /// Everything that is wrong with it; never empty.
    pub problems: Vec<Problem>,
}

impl Policy {
    /// Whether all values are allowed.
    ///
    /// # Errors
    /// [`Invalid`] with everything that is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut found = Found { policy: self, problems: Vec::new() };
        found.ranges();
        found.application_consistency();
        found.retention();
        found.bandwidth();
        found.objective();
        if found.problems.is_empty() { Ok(()) } else { Err(Invalid { problems: found.problems }) }
    }

    /// What is allowed but will not do what its values seem to say.
    #[must_use]
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = Found { policy: self, problems: Vec::new() };
        let every = self.keep_every_point_secs / self.copy_frequency_secs.max(1);
        let hourly = self.keep_hourly_secs.saturating_sub(self.keep_every_point_secs) / 3600;
        let daily_from = self.keep_hourly_secs.max(self.keep_every_point_secs);
        let daily = self.keep_daily_secs.saturating_sub(daily_from) / (24 * 3600);
        let needed = every + hourly + daily + 1;
        if needed > self.points_max {
            found.add(
                "points_max",
                format!("{needed} for the ages that are to be kept at this copy frequency"),
                "raise it, or the oldest points go before their time",
            );
        }
        if !self.auto_resync && self.resync_window.is_some() {
            found.add("resync_window", "none while auto_resync is off", "set auto_resync, or clear it");
        }
        found.problems
    }
}

struct Found<'a> {
    policy: &'a Policy,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn add(&mut self, setting: &'static str, allowed: impl Into<String>, advice: impl Into<String>) {
        let value = value_text(setting, self.policy);
        self.problems.push(Problem { setting, value, allowed: allowed.into(), advice: advice.into() });
    }

    fn within(
        &mut self,
        setting: &'static str,
        value: u64,
        range: &RangeInclusive<u64>,
        write: fn(&u64) -> String,
    ) {
        if !range.contains(&value) {
            let (least, most) = (write(range.start()), write(range.end()));
            let nearest = write(&value.clamp(*range.start(), *range.end()));
            self.add(setting, format!("{least} to {most}"), format!("the nearest is {nearest}"));
        }
    }

    fn ranges(&mut self) {
        let policy = self.policy;
        self.within(
            "copy_frequency_secs",
            policy.copy_frequency_secs,
            &limits::COPY_FREQUENCY_SECS,
            text::secs::write,
        );
        self.within("points_max", policy.points_max, &limits::POINTS_MAX, text::count::write);
        let ages = [
            ("keep_every_point_secs", policy.keep_every_point_secs, &limits::KEEP_EVERY_POINT_SECS),
            ("keep_hourly_secs", policy.keep_hourly_secs, &limits::KEEP_HOURLY_SECS),
            ("keep_daily_secs", policy.keep_daily_secs, &limits::KEEP_DAILY_SECS),
        ];
        for (name, value, range) in ages {
            self.within(name, value, range, text::secs::write);
        }
        if let Some(secs) = policy.app_consistent_secs {
            self.within("app_consistent_secs", secs, &limits::APP_CONSISTENT_SECS, text::secs::write);
        }
        if let Some(secs) = policy.rpo_objective_secs {
            self.within("rpo_objective_secs", secs, &limits::RPO_OBJECTIVE_SECS, text::secs::write);
        }
        if let Some(rate) = policy.bandwidth {
            self.within("bandwidth", rate, &limits::BANDWIDTH, text::rate::write);
        }
    }

    fn application_consistency(&mut self) {
        let Some(secs) = self.policy.app_consistent_secs else { return };
        let name = "app_consistent_secs";
        if secs > limits::APP_CONSISTENT_FREE_SECS && secs % 3600 != 0 {
            let hours = format!("use {}h or {}h", secs / 3600, secs / 3600 + 1);
            self.add(name, "above 1h whole hours", hours);
        }
        let copy = self.policy.copy_frequency_secs;
        if secs < copy {
            let least = format!("at least the copy frequency, {}", text::secs::write(&copy));
            self.add(name, least, "raise it, or lower copy_frequency_secs");
        }
    }

    fn retention(&mut self) {
        let Policy { keep_every_point_secs, keep_hourly_secs, keep_daily_secs, .. } = *self.policy;
        let write = |secs: u64| text::secs::write(&secs);
        if keep_hourly_secs != 0 && keep_hourly_secs < keep_every_point_secs {
            let least = format!("0s, or at least keep_every_point_secs, {}", write(keep_every_point_secs));
            self.add("keep_hourly_secs", least, "raise it, or set it to 0 for no hourly points");
        }
        let younger = keep_hourly_secs.max(keep_every_point_secs);
        if keep_daily_secs != 0 && keep_daily_secs < younger {
            let least = format!("0s, or at least as long as younger points are kept, {}", write(younger));
            self.add("keep_daily_secs", least, "raise it, or set it to 0 for no daily points");
        }
    }

    fn bandwidth(&mut self) {
        let windows = &self.policy.bandwidth_windows;
        let name = "bandwidth_windows";
        if windows.len() > limits::WINDOWS_MAX {
            let most = format!("up to {} windows, there are {}", limits::WINDOWS_MAX, windows.len());
            self.add(name, most, "join windows of equal limits");
        }
        for (at, window) in windows.iter().enumerate() {
            let place = format!("window {} ({})", at + 1, text::windows::one(window));
            if let Some((allowed, advice)) = fault_of(window) {
                self.add(name, format!("in {place}: {allowed}"), advice);
            }
        }
    }

    fn objective(&mut self) {
        let copy = self.policy.copy_frequency_secs;
        if self.policy.rpo_objective_secs.is_some_and(|secs| secs < copy) {
            let least = format!("at least the copy frequency, {}", text::secs::write(&copy));
            self.add("rpo_objective_secs", least, "raise it, or lower copy_frequency_secs");
        }
    }
}

fn fault_of(window: &RateWindow) -> Option<(String, &'static str)> {
    let (from, until) = (window.from, window.until);
    if from == until {
        return Some(("ends that differ".to_owned(), "for a whole day write 00:00-24:00"));
    }
    if from == crate::Minute::MIDNIGHT {
        return Some(("a beginning up to 23:59".to_owned(), "write 00:00 of the next day"));
    }
    let range = &limits::BANDWIDTH;
    let limit = window.bandwidth.filter(|rate| !range.contains(rate))?;
    let (least, most) = (text::rate::write(range.start()), text::rate::write(range.end()));
    let advice = if limit == 0 { "to stop sending, pause the protection" } else { "choose another limit" };
    Some((format!("{least} to {most}, or unlimited"), advice))
}

//! Health with its reasons: each reason says what, and what to do about it. The worst one
//! counts. This module must never remember anything: the same signs give the same health.

use farshore_control::{
    Intent,
    report::{Problem, Space},
};
use serde::{Deserialize, Serialize};

use crate::CycleStats;

/// Share of missed cycles over which a protection is no longer well: the model system's.
const MISSED_SHARE: f64 = 0.2;
/// Milliseconds without a point that are too long, whatever the policy says.
const POINT_AGE_MAX_MS: u64 = 3600 * 1000;
/// An objective is missed by much when the newest point is this many times as old.
const FAR_OVER: u64 = 10;
/// Milliseconds without a report after which who sent it counts as silent: four reports.
pub const SILENT_MS: u64 = 120 * 1000;
/// Share of a place that should be free.
const SPACE_WARNING: f64 = 0.10;
/// Share of a place below which it is nearly full.
const SPACE_CRITICAL: f64 = 0.03;
/// Days before its end at which a certificate should long have been renewed.
const CERTIFICATE_WARNING_DAYS: u64 = 30;
/// Days before its end at which somebody must act.
const CERTIFICATE_CRITICAL_DAYS: u64 = 7;
/// Milliseconds that an application-consistent point may be late besides twice its time.
const APP_GRACE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// What is told of a host in maintenance, and of what stands still with it. It is nothing wrong,
/// and nobody is alerted.
pub const MAINTENANCE: &str = "maintenance";
/// Milliseconds that two clocks may differ before it is told.
pub const SKEW_WARNING_MS: u64 = 5_000;
/// Milliseconds at which Kerberos and certificates begin to fail.
pub const SKEW_CRITICAL_MS: u64 = 240_000;

/// How bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing is wrong.
    #[default]
    Normal,
    /// Somebody should look.
    Warning,
    /// What was promised does not hold, or soon will not.
    Critical,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Reason {
    /// A short fixed word for programs, such as `rpo-missed`.
    pub code: String,
    /// How bad it is.
    pub level: Level,
    /// What and where.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// The worst of its reasons, and all of them, worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// The worst.
    pub level: Level,
    /// All.
    pub reasons: Vec<Reason>,
}

impl Health {
    fn add(&mut self, level: Level, code: &str, what: String, advice: &str) {
        let reason = Reason { code: code.to_owned(), level, what, advice: advice.to_owned() };
        self.level = self.level.max(level);
        let at = self.reasons.partition_point(|other| other.level >= level);
        self.reasons.insert(at, reason);
    }

    fn add_problem(&mut self, problem: &Problem) {
        self.add(Level::Warning, &problem.code, problem.what.clone(), &problem.advice);
    }
}

/// What is known of a protection.
#[derive(Clone, Debug, Default)]
pub struct ProtectionSigns<'a> {
    /// What is wanted; `None`: replication.
    pub intent: Option<Intent>,
    /// Why nothing is to be replicated now, and what to do about it, though nobody has paused it.
    pub rests: Option<(&'a str, &'a str)>,
    /// Whether the target has a whole point.
    pub has_point: bool,
    /// How old the newest point is, in milliseconds, as far as is known.
    pub age_ms: Option<u64>,
    /// Milliseconds since it was enabled.
    pub enabled_ms: u64,
    /// Seconds that the newest point may be old, where the policy says.
    pub objective_secs: Option<u64>,
    /// Seconds from one application-consistent point to the next, where the policy wants them.
    pub app_secs: Option<u64>,
    /// How old the newest of these is, in milliseconds, as far as is known.
    pub app_age_ms: Option<u64>,
    /// Why the last try for one came to none, with what to do.
    pub app_fault: Option<&'a str>,
    /// Why the guest may still stand frozen, with what to do.
    pub unthawed: Option<&'a str>,
    /// Cycles of the last half day.
    pub cycles: CycleStats,
    /// Why everything must be compared, where that waits.
    pub resync_needed: Option<&'a str>,
    /// Why everything is being compared.
    pub resyncing: Option<&'a str>,
    /// Why the last try failed.
    pub retrying: Option<&'a str>,
    /// Why it cannot go on without a person.
    pub failed: Option<&'a str>,
    /// What is damaged at the target.
    pub faults: &'a [String],
    /// Milliseconds since the source's agent was heard of.
    pub source_silent_ms: u64,
    /// Milliseconds since the target's agent was heard of.
    pub target_silent_ms: u64,
    /// Whether a test failover is open for longer than it may be.
    pub drill_overdue: bool,
    /// The hosts on which the machine runs at the same time, no copy of it cut off, by their
    /// names; fewer than two where it does not run twice.
    pub runs_on: &'a [String],
    /// Why the machine runs nowhere, where it was sealed for the other side, which does not take it.
    pub runs_nowhere: Option<&'a str>,
    /// The host that holds it after a boot because nobody says who owns it, by its name.
    pub held_on: Option<&'a str>,
    /// Whether two owners were found (rule R4).
    pub conflict: bool,
    /// The host in whose maintenance it stands still, by its name.
    pub maintenance: Option<&'a str>,
}

/// Who runs the machine, where that is not as it should be.
fn add_ownership(health: &mut Health, signs: &ProtectionSigns<'_>) {
    use Level::{Critical, Warning};
    if signs.conflict {
        let what = "two owners were issued the same epoch: nothing is replicated".to_owned();
        health.add(Critical, "owner-conflict", what, "declare which of them is the owner");
    }
    if signs.runs_on.len() > 1 {
        let hosts = signs.runs_on.iter().map(|host| format!("'{host}'")).collect::<Vec<_>>().join(" and ");
        let what = format!("the machine runs on hosts {hosts} at the same time: nothing is replicated");
        let advice = "stop the one that is not wanted; a copy that is to stay needs a UUID of its own";
        health.add(Critical, "runs-twice", what, advice);
    }
    if let Some(why) = signs.runs_nowhere {
        let advice = "complete the move or abort it; take it back where the other side is lost";
        health.add(
            Critical,
            "runs-nowhere",
            format!("the machine is sealed, and runs nowhere: {why}"),
            advice,
        );
    }
    if let Some(host) = signs.held_on {
        let what = format!("host '{host}' has booted and holds the machine: nobody says who owns it");
        let advice = "see to the other site; where it does not run there, `farshore-agent start-held` there";
        health.add(Critical, "held-after-boot", what, advice);
    }
    if signs.drill_overdue {
        let what = "a test failover is open for longer than it may be".to_owned();
        let advice = "it is cleaned up by itself; `farshore protection show` tells what stands against that";
        health.add(Warning, "drill-overdue", what, advice);
    }
}

/// How well a machine is protected.
#[must_use]
pub fn of_protection(signs: &ProtectionSigns<'_>) -> Health {
    use Level::{Critical, Warning};
    let mut health = Health::default();
    add_ownership(&mut health, signs);
    if let Some(host) = signs.maintenance {
        let what = format!("host '{host}' is in maintenance: no new points are made until that ends");
        health.add(Level::Normal, MAINTENANCE, what, "nothing is to be done; it goes on by itself");
        return health;
    }
    if let Some(why) = signs.failed {
        health.add(
            Critical,
            "failed",
            format!("replication has stopped: {why}"),
            "mend the cause, then resume",
        );
    }
    if let Some(why) = signs.resync_needed {
        let what = format!("everything must be compared anew: {why}");
        health.add(Critical, "resync-needed", what, "resync now, or wait for the policy's window");
    }
    if let Some(why) = signs.retrying {
        health.add(Warning, "retrying", format!("the last try failed: {why}"), "it is tried again by itself");
    }
    if let Some(why) = signs.resyncing {
        let what = format!("everything is being compared: {why}");
        health.add(Warning, "resyncing", what, "nothing is to be done; points come again after it");
    }
    if signs.intent == Some(Intent::Pause) {
        let what = "replication is paused: no new points are made".to_owned();
        health.add(Warning, "paused", what, "resume it when what it was paused for is done");
    }
    if let Some((what, advice)) = signs.rests {
        health.add(Warning, "not-replicating", what.to_owned(), advice);
    }
    if !signs.has_point && signs.rests.is_none() {
        let what = "the first copy is not complete: there is no recovery point yet".to_owned();
        health.add(Warning, "initial-copy", what, "wait for it, or look why it does not go on");
    }
    for (who, silent_ms) in [("source", signs.source_silent_ms), ("target", signs.target_silent_ms)] {
        if silent_ms >= SILENT_MS {
            let what = format!("the agent of the {who} has not been heard of for {}", time(silent_ms));
            health.add(Warning, &format!("{who}-silent"), what, "is its host up, and its site server?");
        }
    }
    add_age(&mut health, signs);
    add_cycles(&mut health, &signs.cycles);
    add_consistency(&mut health, signs);
    for fault in signs.faults {
        health.add(Critical, "damaged", fault.clone(), "verify the points, and replicate to a new replica");
    }
    health
}

fn add_age(health: &mut Health, signs: &ProtectionSigns<'_>) {
    let objective_ms = signs.objective_secs.map(|secs| secs.saturating_mul(1000));
    let allowed = objective_ms.unwrap_or(POINT_AGE_MAX_MS);
    // Without a point, it is as old as the protection.
    let age = if signs.has_point { signs.age_ms.unwrap_or(signs.enabled_ms) } else { signs.enabled_ms };
    if age <= allowed {
        return;
    }
    let far = age > allowed.saturating_mul(FAR_OVER) || age > POINT_AGE_MAX_MS.max(allowed);
    let level = if far { Level::Critical } else { Level::Warning };
    let what = match (signs.has_point, objective_ms) {
        (false, _) => format!("there has been no recovery point for {}", time(age)),
        (true, Some(wanted)) => {
            format!("the newest point is {} old; the policy wants at most {}", time(age), time(wanted))
        }
        (true, None) => format!("the newest point is {} old", time(age)),
    };
    health.add(
        level,
        "rpo-missed",
        what,
        "look at the other reasons, the line between the sites, and its limit",
    );
}

fn add_cycles(health: &mut Health, cycles: &CycleStats) {
    if let Some(share) = cycles.missed_share().filter(|share| *share > MISSED_SHARE) {
        let what = format!("{:.0} % of the cycles of the last 12 h could not begin in time", share * 100.0);
        let advice = "choose a lower frequency, raise the bandwidth limit, or look what slows the hosts";
        health.add(Level::Warning, "cycles-missed", what, advice);
    }
}

fn add_consistency(health: &mut Health, signs: &ProtectionSigns<'_>) {
    if let Some(why) = signs.unthawed {
        let advice =
            "thaw the guest's file systems from inside, or restart its agent there; it is tried all the time";
        health.add(Level::Critical, "guest-frozen", why.to_owned(), advice);
    }
    let Some(every_ms) = signs.app_secs.map(|secs| secs.saturating_mul(1000)) else { return };
    let newest = match signs.app_age_ms {
        Some(age) => format!("the newest application-consistent point is {} old", time(age)),
        None => "there is no application-consistent point".to_owned(),
    };
    // While no points are made at all, none of these is: that has reasons of its own.
    // Where there has never been one, it has been awaited since it was enabled.
    let age = signs.app_age_ms.unwrap_or(signs.enabled_ms);
    let behind = age.saturating_sub(signs.age_ms.unwrap_or(age));
    let late = behind > every_ms.saturating_mul(2).saturating_add(APP_GRACE_MS);
    match signs.app_fault {
        Some(why) => {
            let what = format!("points are crash-consistent only, {newest}: {why}");
            let advice = "look at the guest's agent, its freeze hook and its disks; see docs/consistency.md";
            health.add(Level::Warning, "app-consistency", what, advice);
        }
        None if late => {
            let what = format!("{newest}; the policy wants one every {}", time(every_ms));
            let advice = "look at the other reasons, and whether the source's agent is of this version";
            health.add(Level::Warning, "app-consistency", what, advice);
        }
        None => {}
    }
}

/// What is known of a host.
#[derive(Clone, Debug, Default)]
pub struct HostSigns<'a> {
    /// Milliseconds since its agent was heard of.
    pub silent_ms: u64,
    /// Milliseconds that its clock differs, beyond what the round trip explains.
    pub skew_ms: u64,
    /// Milliseconds until its certificate ends; none: not known.
    pub certificate_left_ms: Option<u64>,
    /// Room at its places.
    pub space: &'a [Space],
    /// What its agent says.
    pub problems: &'a [Problem],
    /// Whether it is in maintenance.
    pub maintenance: bool,
}

/// How well a host is.
#[must_use]
pub fn of_host(signs: &HostSigns<'_>) -> Health {
    use Level::{Critical, Warning};
    let mut health = Health::default();
    if signs.maintenance {
        let what = "it is in maintenance: it takes no new role".to_owned();
        health.add(Level::Normal, MAINTENANCE, what, "end the maintenance when it is done");
    } else if signs.silent_ms >= SILENT_MS {
        let what = format!("its agent has not been heard of for {}", time(signs.silent_ms));
        health.add(
            Critical,
            "agent-silent",
            what,
            "is the host up, its agent running, its site server there?",
        );
    }
    if !signs.maintenance {
        add_skew(&mut health, signs.skew_ms, "its clock");
    }
    if let Some(left) = signs.certificate_left_ms.filter(|left| *left <= CERTIFICATE_WARNING_DAYS * DAY_MS) {
        let level = if left <= CERTIFICATE_CRITICAL_DAYS * DAY_MS { Critical } else { Warning };
        let what = match left {
            0 => "its certificate has ended".to_owned(),
            left => format!("its certificate ends in {}", time(left)),
        };
        let advice = "it is renewed by itself while vault and site server answer; else enrol the host anew";
        health.add(level, "certificate", what, advice);
    }
    let full = signs.space.iter().filter(|place| place.total > 0 && !signs.maintenance);
    for place in full {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no last digits")]
        let share = place.free as f64 / place.total as f64;
        if share < SPACE_WARNING {
            let level = if share < SPACE_CRITICAL { Critical } else { Warning };
            let what = format!("{:.0} % free for {} at {}", share * 100.0, place.of, place.path);
            health.add(level, "space-low", what, "free some space, keep fewer points, or move replicas away");
        }
    }
    if !signs.maintenance {
        signs.problems.iter().for_each(|problem| health.add_problem(problem));
    }
    health
}

/// What is known of a site.
#[derive(Clone, Debug, Default)]
pub struct SiteSigns<'a> {
    /// Milliseconds since its server was heard of; none: none is expected to be there yet.
    pub silent_ms: Option<u64>,
    /// Milliseconds that its server's clock differs, beyond what the round trip explains.
    pub skew_ms: u64,
    /// What its server says of itself.
    pub problems: &'a [Problem],
}

/// How well a site is.
#[must_use]
pub fn of_site(signs: &SiteSigns<'_>) -> Health {
    let mut health = Health::default();
    if let Some(silent_ms) = signs.silent_ms.filter(|ms| *ms >= SILENT_MS) {
        let what = format!("its site server has not been heard of for {}", time(silent_ms));
        let advice = "is it up, and the line to it? its agents go on replicating meanwhile";
        health.add(Level::Critical, "site-silent", what, advice);
    }
    add_skew(&mut health, signs.skew_ms, "the site server's clock");
    signs.problems.iter().for_each(|problem| health.add_problem(problem));
    health
}

fn add_skew(health: &mut Health, skew_ms: u64, whose: &str) {
    if skew_ms >= SKEW_WARNING_MS {
        let level = if skew_ms >= SKEW_CRITICAL_MS { Level::Critical } else { Level::Warning };
        let what = format!("{whose} differs from the vault's by {}", time(skew_ms));
        health.add(level, "clock-skew", what, "let a time service set the clocks");
    }
}

/// A time as people say it, two units at most.
fn time(ms: u64) -> String {
    let secs = ms / 1000;
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if secs == 0 => format!("{ms} ms"),
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;

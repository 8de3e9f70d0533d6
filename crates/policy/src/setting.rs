//! The settings as a table, from which help, documents and texts come. This module must never
//! know a range that [`crate::limits`] does not: a test compares them.

use thiserror::Error;

use crate::{Change, Policy, PolicyPatch, text};

/// In what a setting is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes a second.
    BytesPerSecond,
    /// A number of things.
    Count,
    /// On or off.
    Switch,
    /// One of some words.
    Word,
    /// Times of the day or week, by the source's local clock.
    Calendar,
}

/// One setting of a policy.
pub struct Setting {
    /// Its name in the API.
    pub name: &'static str,
    /// Its name on the command line.
    pub flag: &'static str,
    /// In what it is counted.
    pub unit: Unit,
    /// Its default, as people write it.
    pub default: &'static str,
    /// What is allowed.
    pub range: &'static str,
    /// What it does.
    pub help: &'static str,
    get: fn(&Policy) -> String,
    set: fn(&mut PolicyPatch, &str) -> Result<(), String>,
    clear: fn(&mut PolicyPatch),
}

/// There is no such setting.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no setting '{name}'; there are {}", SETTINGS.iter().map(|s| s.flag).collect::<Vec<_>>().join(", "))]
pub struct UnknownSetting {
    /// What was asked for.
    pub name: String,
}

macro_rules! settings {
    ($($field:ident, $flag:literal, $unit:ident, $codec:ident, $default:literal, $range:literal, $help:literal;)*) => {
        /// Every setting, in the order of [`Policy`].
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($field),
            flag: $flag,
            unit: Unit::$unit,
            default: $default,
            range: $range,
            help: $help,
            get: |policy| text::$codec::write(&policy.$field),
            set: |patch, value| {
                patch.$field = Change::Set(text::$codec::read(value)?);
                Ok(())
            },
            clear: |patch| patch.$field = Change::Clear,
        },)*];
    };
}

settings! {
    copy_frequency_secs, "copy-frequency", Seconds, secs, "30s", "1s to 1h",
        "Time from one recovery point to the next.";
    app_consistent_secs, "app-consistent", Seconds, secs_or_off, "off", "off, 1m to 1h, or whole hours to 12h",
        "How often the guest's file systems are frozen for a point; not below the copy frequency.";
    keep_every_point_secs, "keep-every-point", Seconds, secs, "1h", "0s to 31d",
        "Age up to which every recovery point is kept.";
    keep_hourly_secs, "keep-hourly", Seconds, secs, "1d", "0s, or from keep-every-point to 366d",
        "Age up to which one recovery point an hour is kept.";
    keep_daily_secs, "keep-daily", Seconds, secs, "7d", "0s, or from keep-hourly to 3660d",
        "Age up to which one recovery point a day is kept.";
    points_max, "points-max", Count, count, "5000", "1 to 65000",
        "Most recovery points, whatever their age; the oldest go first.";
    compression, "compression", Word, compression, "auto", "auto, on, off",
        "Compression on the wire; auto leaves it out where the link outruns it.";
    replica_compression, "replica-compression", Switch, switch, "on", "on, off",
        "Whether the replica is kept compressed; off reads at full speed after a failover.";
    small_writes, "small-writes", Switch, switch, "on", "on, off",
        "Whether of 64 KiB that changed in a few 4 KiB blocks only those are sent.";
    wire, "authentication", Word, wire, "certificate", "certificate, kerberos",
        "By what the two hosts' agents know each other.";
    bandwidth, "bandwidth", BytesPerSecond, rate_or_none, "unlimited", "64KiB/s to 125GB/s, or unlimited",
        "Most bytes a second that a machine's replication sends outside every bandwidth window.";
    bandwidth_windows, "bandwidth-windows", Calendar, windows, "none", "up to 64 windows, DAYS HH:MM-HH:MM RATE, with ; between",
        "Other limits at other times; the first window that matches counts. May go over midnight.";
    auto_resync, "auto-resync", Switch, switch, "on", "on, off",
        "Whether a resync that is needed begins by itself.";
    resync_window, "resync-window", Calendar, window, "any", "HH:MM-HH:MM, or any",
        "When a resync may begin by itself. May go over midnight.";
    rpo_objective_secs, "rpo-objective", Seconds, secs_or_off, "off", "off, or from the copy frequency, 2s to 7d",
        "Age of the newest recovery point above which health is critical; off: an hour.";
    initial, "initial-copy", Word, initial, "now", "now, at HH:MM, offline, existing",
        "How the first copy is made: over the network now or later, on a medium, or over a copy that is there.";
    on_disable, "on-disable", Word, on_disable, "keep", "keep, delete",
        "What becomes of the replica when protection is disabled.";
    auto_protect, "auto-protect", Switch, switch, "off", "on, off",
        "Whether machines that appear in the cloud are protected by themselves.";
}

/// The setting of a name: that of the API, or that of the command line.
///
/// # Errors
/// [`UnknownSetting`], which names those that there are.
pub fn setting(name: &str) -> Result<&'static Setting, UnknownSetting> {
    let found = SETTINGS.iter().find(|setting| setting.name == name || setting.flag == name);
    found.ok_or_else(|| UnknownSetting { name: name.to_owned() })
}

impl Setting {
    /// Its value in a policy, as people write it.
    #[must_use]
    pub fn get(&self, policy: &Policy) -> String {
        (self.get)(policy)
    }

    /// Sets it in a change from what people write.
    ///
    /// # Errors
    /// That the text is no value of its kind. Whether it is in range is told by
    /// [`PolicyPatch::apply`].
    pub fn set(&self, patch: &mut PolicyPatch, value: &str) -> Result<(), String> {
        let (flag, range) = (self.flag, self.range);
        (self.set)(patch, value).map_err(|why| format!("{flag}: {why}; allowed: {range}"))
    }

    /// Clears it in a change: it goes back to its default.
    pub fn clear(&self, patch: &mut PolicyPatch) {
        (self.clear)(patch);
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A setting's value, as people write it.
pub(crate) fn value_text(name: &str, policy: &Policy) -> String {
    setting(name).map_or_else(|_| String::new(), |setting| setting.get(policy))
}

/// What differs from one policy to another, a line a setting; empty: nothing.
#[must_use]
pub fn diff(old: &Policy, new: &Policy) -> String {
    let changed = PolicyPatch::between(old, new).names();
    let differing = SETTINGS.iter().filter(|setting| changed.contains(&setting.name));
    let line = |s: &Setting| format!("{}: {} -> {}", s.flag, s.get(old), s.get(new));
    differing.map(line).collect::<Vec<_>>().join("\n")
}

/// The settings as a table in Markdown: what `docs/policies.md` has, which a test compares.
#[must_use]
pub fn reference() -> String {
    let mut out = "| setting | default | allowed | what it does |\n|---|---|---|---|\n".to_owned();
    for setting in SETTINGS {
        let Setting { flag, default, range, help, .. } = setting;
        out.push_str(&format!("| `{flag}` | {default} | {range} | {help} |\n"));
    }
    out
}

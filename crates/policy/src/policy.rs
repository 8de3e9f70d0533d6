//! The policy itself. This module must never know how it is read, changed or sent.

use farshore_control::{Compression, Wire};
use serde::{Deserialize, Serialize};

use crate::{Minute, RateWindow, Window};

/// How machines are replicated. Ranges are in [`crate::limits`], words for people in
/// [`crate::SETTINGS`]; [`Policy::check`] tells whether all hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Policy {
    /// Seconds from one cycle to the next.
    pub copy_frequency_secs: u64,
    /// Seconds from one application-consistent point to the next; none: never.
    pub app_consistent_secs: Option<u64>,
    /// Every point younger than this many seconds is kept.
    pub keep_every_point_secs: u64,
    /// Of those older, one an hour is kept up to this age in seconds.
    pub keep_hourly_secs: u64,
    /// Of those older still, one a day is kept up to this age in seconds.
    pub keep_daily_secs: u64,
    /// Never more points than this.
    pub points_max: u64,
    /// Compression on the wire.
    pub compression: Compression,
    /// Whether the replica keeps clusters compressed.
    pub replica_compression: bool,
    /// Whether small writes travel as what they are.
    pub small_writes: bool,
    /// By what the agents know each other.
    pub wire: Wire,
    /// Most bytes a second outside every window; none: no limit.
    pub bandwidth: Option<u64>,
    /// Other limits at other times; the first that matches counts.
    pub bandwidth_windows: Vec<RateWindow>,
    /// Whether a resync begins by itself; else only when asked for.
    pub auto_resync: bool,
    /// When it may begin by itself; none: at any time.
    pub resync_window: Option<Window>,
    /// Seconds that the newest point may be old; none: an hour counts.
    pub rpo_objective_secs: Option<u64>,
    /// How the first copy is made.
    pub initial: InitialMethod,
    /// What becomes of the replica when protection is disabled.
    pub on_disable: OnDisable,
    /// Whether machines that appear in the cloud are protected by themselves.
    pub auto_protect: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            copy_frequency_secs: 30,
            app_consistent_secs: None,
            keep_every_point_secs: 3600,
            keep_hourly_secs: 24 * 3600,
            keep_daily_secs: 7 * 24 * 3600,
            points_max: 5000,
            compression: Compression::Auto,
            replica_compression: true,
            small_writes: true,
            wire: Wire::Certificate,
            bandwidth: None,
            bandwidth_windows: Vec::new(),
            auto_resync: true,
            resync_window: None,
            rpo_objective_secs: None,
            initial: InitialMethod::Now,
            on_disable: OnDisable::Keep,
            auto_protect: false,
        }
    }
}

/// How the first copy of a machine is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum InitialMethod {
    /// Over the network, at once.
    #[default]
    Now,
    /// Over the network, from the next time that it is this minute of the source's day.
    At {
        /// The minute.
        minute: Minute,
    },
    /// On a medium that is carried over.
    Offline,
    /// The target has a copy; only what differs is sent.
    Existing,
}

/// What becomes of a replica when its protection is disabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnDisable {
    /// It stays where it is.
    #[default]
    Keep,
    /// It is deleted with all its points.
    Delete,
}

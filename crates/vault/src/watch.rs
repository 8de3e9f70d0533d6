//! The watch over everything that is protected: how old the newest points were over the last
//! week, the cycles of the last half day, health with its reasons, and alerts. Looked over
//! every few seconds by [`Core::watch_over`]; what it remembers is in memory, and is given
//! out in samples now and then, so that no report costs a write. Open alerts and notices are
//! rows. This room must never know how a notice is sent, nor act on what it sees.

mod judged;
mod kept;
mod round;

use std::collections::BTreeMap;

use farshore_control::{
    report::Problem,
    sync::{PROBLEMS_MAX, SiteReport},
};
use farshore_health::{Alerts, CycleStats, CycleWindow, Health, Percentiles, RpoHistory};
use farshore_types::{MachineId, PointId, SiteId};
use uuid::Uuid;

use crate::{Core, Moment};

pub use judged::Judged;
pub use kept::{DAYS, HOURS, KeptSample};
pub use round::{NOTICES_MAX, RESOLVED_MAX};

/// Milliseconds from one look over everything to the next.
const ROUND_MS: u64 = 5_000;

/// What is remembered between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// When the first look was, by [`Moment::mono_ms`], and what has to be added to that
    /// clock to have milliseconds since the Unix epoch, as they were then.
    begun: Option<(u64, u64)>,
    /// When the last look was, by that clock.
    looked_ms: Option<u64>,
    /// The last batch that was given out to be kept.
    kept_batch: Option<u64>,
    protections: BTreeMap<MachineId, Followed>,
    sites: BTreeMap<SiteId, SiteSeen>,
    alerts: Alerts,
    /// Names of the channels that notices are for.
    channels: Vec<String>,
}

/// One protection, as it was followed.
#[derive(Clone, Debug, Default)]
struct Followed {
    rpo: RpoHistory,
    cycles: CycleWindow,
    /// The run and the number of the source's last report that was noted.
    noted: Option<(Uuid, u64)>,
    /// The newest point and its instant by the watch's clock, as late as it cannot have been.
    newest: Option<(PointId, u64)>,
    /// Whether nobody has watched since that was kept.
    gap: bool,
    health: Health,
    /// Up to when everything was given out to be kept.
    kept_ms: u64,
}

/// What a site server said of itself last.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSeen {
    /// When, by [`Moment::mono_ms`].
    pub mono_ms: u64,
    /// Its version.
    pub version: String,
    /// Milliseconds that its clock seems to be ahead of the vault's.
    pub skew_ms: i64,
    /// Milliseconds of its last round trip with the vault.
    pub transit_ms: u64,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// What is remembered is no part of what a core decides, nor of its open transaction: two cores
/// are the same where their rows are.
impl PartialEq for Watch {
    fn eq(&self, _: &Watch) -> bool {
        true
    }
}

impl Watch {
    /// Notes what a site server says of itself.
    pub(crate) fn heard_site(&mut self, report: &SiteReport, at: &Moment) {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let told = signed(report.clock_ms.saturating_add(report.transit_ms));
        let seen = SiteSeen {
            mono_ms: at.mono_ms,
            version: report.version.clone(),
            skew_ms: told.saturating_sub(signed(at.wall_ms)),
            transit_ms: report.transit_ms,
            problems: report.problems.iter().take(PROBLEMS_MAX).cloned().collect(),
        };
        self.sites.insert(report.site, seen);
    }

    /// Milliseconds since the Unix epoch by a clock that does not jump.
    fn clock(&self, at: &Moment) -> u64 {
        let ahead = self.begun.map_or(at.wall_ms.saturating_sub(at.mono_ms), |(_, ahead)| ahead);
        at.mono_ms.saturating_add(ahead)
    }

    /// Milliseconds since who was never heard of could have been.
    fn watched_ms(&self, at: &Moment) -> u64 {
        self.begun.map_or(0, |(begun, _)| at.mono_ms.saturating_sub(begun))
    }

    fn alerts_mut(&mut self) -> &mut Alerts {
        &mut self.alerts
    }
}

impl Core {
    /// Whom notices are for, by the channels' names; none: no notices are made.
    pub fn set_channels(&mut self, channels: Vec<String>) {
        self.watch.channels = channels;
    }

    /// How old the newest point was over the last `span_ms` milliseconds.
    #[must_use]
    pub fn rpo_over(&self, machine: MachineId, span_ms: u64, at: &Moment) -> Option<Percentiles> {
        let followed = self.watch.protections.get(&machine)?;
        followed.rpo.percentiles(self.watch.clock(at), span_ms)
    }

    /// The cycles of a protection over the last half day.
    #[must_use]
    pub fn cycles_of(&self, machine: MachineId, at: &Moment) -> CycleStats {
        let followed = self.watch.protections.get(&machine);
        followed.map(|followed| followed.cycles.stats(self.watch.clock(at))).unwrap_or_default()
    }

    /// What a site server said last to this run of the vault.
    #[must_use]
    pub fn site_seen(&self, site: SiteId) -> Option<&SiteSeen> {
        self.watch.sites.get(&site)
    }
}

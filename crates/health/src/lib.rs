//! How well machines are protected, from what agents and site servers report: the age of
//! the newest point as it was over time, statistics of cycles, health with its reasons, and
//! alerts that are raised once and resolve themselves.
//!
//! Pure: every function is told the time, as milliseconds of a clock that never jumps. This
//! crate must never know how reports arrive, where alerts are kept, or who is told.

mod alerts;
mod cycles;
mod judge;
mod reasons;
mod rpo;

pub use alerts::{Alert, Alerts, Change, Subject};
pub use cycles::{CycleStats, CycleWindow, KeptCycles};
pub use judge::{
    Health, HostSigns, Level, MAINTENANCE, ProtectionSigns, Reason, SILENT_MS, SKEW_CRITICAL_MS,
    SKEW_WARNING_MS, SiteSigns, of_host, of_protection, of_site,
};
pub use reasons::{Known, REASONS};
pub use rpo::{DAY_MS, DAYS_MAX, HOUR_MS, HOURS_MAX, Percentiles, Replaced, RpoHistory, Slot};

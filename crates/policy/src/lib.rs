//! Replication policies: every setting with its unit, default and range, what a change of
//! some of them makes of a policy, and what of it goes to the agents. Pure: this crate must
//! never know which clouds a policy is associated with, nor where it is kept.
//!
//! Decisions, where the design leaves room:
//! - *Clearing* a setting takes it back to its default. Every setting that can be absent is
//!   absent by default, so for those the two are the same.
//! - An application-consistent frequency is off, up to an hour freely, or above that whole
//!   hours up to [`limits::APP_CONSISTENT_SECS`]; never more often than the copy frequency.
//! - Whether resync runs by itself and when are two settings; the agents get them as one.
//! - A bandwidth window with equal ends would be read as nothing by one and as a whole day by
//!   another, so it is refused; a whole day is 00:00-24:00.

mod calendar;
mod check;
mod convert;
pub mod limits;
mod patch;
mod policy;
mod setting;
mod text;

pub use calendar::{Days, Minute, RateWindow, Window, limit_at};
pub use check::{Invalid, Problem};
pub use patch::{Change, PolicyPatch};
pub use policy::{InitialMethod, OnDisable, Policy};
pub use setting::{SETTINGS, Setting, Unit, UnknownSetting, diff, reference, setting};

#[cfg(test)]
mod tests;

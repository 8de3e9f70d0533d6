//! What vault, site servers and agents tell each other, and the rules of who may do what.
//! Values and decisions only: this crate must never know how anything travels or is kept.
//!
//! ```text
//! vault ──documents──► site server ──documents──► agent      wanted, level-triggered
//! vault ◄───reports─── site server ◄───reports─── agent      observed
//! ```
//!
//! Nothing depends on a message arriving once: documents say what is to be, whole; reports
//! say what is, whole. The rules R1 to R8 of ownership are in [`ownership`] and [`holder`]. A
//! protection's document carries its whole life, of the crate `protection`.

#[cfg(feature = "deliberate-bugs")]
pub mod bug;
#[cfg(not(feature = "deliberate-bugs"))]
mod bug;
pub mod copy;
pub mod decided;
pub mod document;
pub mod enrolment;
pub mod hello;
pub mod holder;
pub mod learning;
pub mod report;
pub mod request;
pub mod standing;
pub mod sync;
mod version;

pub use decided::Part;
pub use farshore_ownership as ownership;

pub use document::{
    Body, CardAddress, Compression, Document, Endpoint, HostDocument, InitialCopy, Intent, KeepPoints, Key,
    Peer, Protection, RateWindow, Settings, TrustDocument, Wire,
};
pub use holder::{Holder, Verdict};
pub use learning::Learning;
pub use report::{HostReport, Inventory};
pub use standing::Standing;
pub use version::{Order, Term, Version};

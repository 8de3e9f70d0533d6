//! The vault as a program: its desk, who it lets in, what it answers. What is decided, the
//! core in `farshore-vault` decides; nothing here may.

mod api;
mod backups;
mod config;
mod copies;
mod desk;
mod events;
mod init;
mod issuer;
mod members;
mod metrics;
mod notify;
mod offline;
mod own;
mod papers;
mod promote;
mod recover;
mod restore;
mod revocations;
mod serve;
mod standing;
mod views;
mod watch;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use farshore_vault::Moment;

pub use api::document;
pub use backups::backup;
pub use config::{DEFAULT_PATH, SAMPLE, VaultConfig};
pub(crate) use copies::digest_of;
pub use init::{Made, init};
pub use notify::{
    AlertsConfig, EmailConfig, ID_HEADER, Least, SIGNATURE_HEADER, Security, TIMESTAMP_HEADER, Tested,
    WebhookConfig, sign,
};
pub use promote::{Promoted, promote};
pub use recover::{Recovered, new_token, recover_authority};
pub use restore::{Restored, restore};
pub use serve::serve;

/// Now, with randomness; `begun` is the beginning of the clock that never jumps.
fn moment_since(begun: Instant) -> Moment {
    let mut random = [0; 32];
    // Without randomness no id and no token may be made at all: this never fails on a
    // system that has started.
    if rand::fill(&mut random).is_err() {
        tracing::error!("the system gives no randomness");
        std::process::abort();
    }
    let mono_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Moment { wall_ms: wall_ms(), mono_ms, random }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

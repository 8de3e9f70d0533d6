//! Events: small words of what has changed. Whoever hears one asks for what it wants to know.

use farshore_health::Level;
use farshore_types::MachineId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ProtectionState;

/// Something has changed. The stream's `event` is its `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum EventView {
    /// What was missed is not known, or the stream begins: read anew what you need, then
    /// follow.
    Reset {
        /// Why.
        why: String,
    },
    /// A protection does something else, or is as well as it was not before.
    Protection {
        /// The machine.
        machine: MachineId,
        /// Its name.
        name: String,
        /// What it does.
        state: ProtectionState,
        /// How well it is.
        health: Level,
    },
    /// A protection has ended.
    ProtectionEnded {
        /// The machine.
        machine: MachineId,
    },
}

impl EventView {
    /// The event's name in the stream.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            EventView::Reset { .. } => "reset",
            EventView::Protection { .. } => "protection",
            EventView::ProtectionEnded { .. } => "protection-ended",
        }
    }
}

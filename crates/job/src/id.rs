//! Names of effects. The same step asked for again has the same name, on any machine and in
//! any run of the program: it is made of nothing but the job, the step and the attempt.

use std::fmt;

use farshore_types::{JobId, RequestId};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

/// Which way a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What it is for.
    Do,
    /// What takes that back.
    Undo,
}

/// Name of one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EffectId {
    /// Of which job.
    pub job: JobId,
    /// Place of the step in the job.
    pub step: u16,
    /// Which way.
    pub direction: Direction,
    /// From 1; the next one only after the one before is known to have done nothing.
    pub attempt: u32,
}

impl EffectId {
    /// The id of the request by which an agent is asked for it.
    #[must_use]
    pub fn request(&self) -> RequestId {
        let digest = blake3::derive_key("farshore job effect 1", self.to_string().as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        let id: Uuid = Builder::from_custom_bytes(bytes).into_uuid();
        RequestId(id)
    }
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.direction {
            Direction::Do => "do",
            Direction::Undo => "undo",
        };
        write!(f, "{}/{}/{way}/{}", self.job, self.step, self.attempt)
    }
}

//! Names of effects. The same step asked for again has the same name, on any machine and in
//! any run of the program: it is made of nothing but the job, the step and the attempt.

use std::fmt;

use farshore_types::{JobId, RequestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::{Builder, Uuid};

use crate::{Job, State};

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
        request_of(&self.to_string())
    }

    /// The id of one of several requests that an effect takes; each is as lasting as the
    /// effect's own.
    #[must_use]
    pub fn request_part(&self, part: u32) -> RequestId {
        request_of(&format!("{self}/{part}"))
    }
}

fn request_of(name: &str) -> RequestId {
    let digest = blake3::derive_key("farshore job effect 1", name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let id: Uuid = Builder::from_custom_bytes(bytes).into_uuid();
    RequestId(id)
}

impl Job {
    /// Every effect that was ever asked for, in the order of the steps.
    pub fn issued(&self) -> impl Iterator<Item = EffectId> {
        let places = (0u16..).zip(&self.nodes);
        places.flat_map(move |(step, node)| {
            let runs = [(Direction::Do, &node.doing), (Direction::Undo, &node.undoing)];
            let asked =
                runs.into_iter().filter_map(|(direction, run)| Some((direction, run.as_ref()?.attempt)));
            asked.flat_map(move |(direction, last)| {
                (1..=last).map(move |attempt| EffectId { job: self.id, step, direction, attempt })
            })
        })
    }

    /// Every effect whose outcome is waited for now, and what was asked for by it: for those
    /// who rather look again and again whether it is done than wait for a message.
    pub fn outstanding(&self) -> impl Iterator<Item = (EffectId, &Value)> {
        let places = (0u16..).zip(&self.nodes);
        places.filter_map(move |(step, node)| {
            let (direction, run) = match node.state {
                State::Running => (Direction::Do, node.doing.as_ref()?),
                State::Undoing => (Direction::Undo, node.undoing.as_ref()?),
                _ => return None,
            };
            let id = EffectId { job: self.id, step, direction, attempt: run.attempt };
            run.retry_at_ms.is_none().then_some((id, &run.action))
        })
    }

    /// The effect that an agent was asked for by such a request, whether its outcome is still
    /// waited for or not.
    #[must_use]
    pub fn effect_of(&self, request: RequestId) -> Option<EffectId> {
        self.issued().find(|id| id.request() == request)
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

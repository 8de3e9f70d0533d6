//! Jobs, each a row.

use farshore_job::{FORMAT, Job, JobError};
use farshore_types::{CloudId, MachineId, PolicyId};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

/// A job. It stays for some days after its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    /// How far it is.
    #[serde(deserialize_with = "known_format")]
    pub job: Job,
    /// What it is about.
    pub about: About,
}

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of", content = "id")]
pub enum About {
    /// A machine's protection.
    Machine(MachineId),
    /// A cloud.
    Cloud(CloudId),
    /// A policy.
    Policy(PolicyId),
}

impl JobRow {
    /// Whether it has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.job.has_ended()
    }
}

/// A job of a newer format is refused, never guessed at.
fn known_format<'de, D: Deserializer<'de>>(from: D) -> Result<Job, D::Error> {
    let body = serde_json::Value::deserialize(from)?;
    let format = body["format"].as_u64().and_then(|format| u32::try_from(format).ok());
    match format {
        Some(format) if format > FORMAT => Err(D::Error::custom(JobError::Newer { format })),
        _ => Job::deserialize(body).map_err(D::Error::custom),
    }
}

//! A changed policy reaches the hosts of all protections that follow it.

use farshore_job::{JobError, Known, Node};
use farshore_types::PolicyId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, ORDER_MS, act::Act, input_of, value_of, waiting};

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) policy: PolicyId,
    pub(crate) name: String,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::ChangePolicy.name()
    }

    fn title(&self, input: &Value) -> String {
        format!("Bring policy '{}' to all that follow it", input["name"].as_str().unwrap_or("?"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Change { .. } = input_of(input)?;
        let stays = "the change stands; a host that is away takes it when it is back";
        Ok(vec![Node::step("reach", "Every host has it", waiting(ORDER_MS, stays))])
    }

    fn action(&self, _: &str, known: &Known<'_>) -> Value {
        let Ok(Change { policy, .. }) = input_of(known.input()) else { return Value::Null };
        value_of(&Act::Reached { policy })
    }
}

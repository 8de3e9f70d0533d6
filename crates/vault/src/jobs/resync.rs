//! Comparing everything of a machine with its replica, because somebody asked for it.

use farshore_job::{JobError, Known, Node};
use farshore_types::{Epoch, MachineId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    COPY_MS, Kind, ORDER_MS,
    act::{Act, End, Of},
    input_of, value_of, waiting,
};

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Resyncing {
    pub(crate) machine: MachineId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) source: String,
    /// Which comparison it is.
    pub(crate) number: u64,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Resync.name()
    }

    fn title(&self, input: &Value) -> String {
        format!("Compare machine '{}' with its replica", input["name"].as_str().unwrap_or("?"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Resyncing { source, .. } = input_of(input)?;
        let stays = "a comparison that was asked for is made all the same: it takes nothing away";
        let told = waiting(ORDER_MS, stays);
        Ok(vec![
            Node::step("order", &format!("Order it of host '{source}'"), told),
            Node::step("compare", "Compare, and send what differs", waiting(COPY_MS, stays)),
        ])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(Resyncing { machine, epoch, number, .. }) = input_of(known.input()) else {
            return Value::Null;
        };
        let of = Of { machine, epoch };
        match step {
            "order" => value_of(&Act::Told { of, end: End::Source }),
            "compare" => value_of(&Act::Compared { of, number }),
            _ => Value::Null,
        }
    }
}

//! Disabling a protection: it has ended with the job itself. What takes time is that its hosts
//! learn of it, and that the replica goes where that was ordered. Cancelling only ends the
//! waiting: what has ended stays ended, and hosts that are away learn of it when they return.

use farshore_job::{JobError, Known, Node, Order};
use farshore_types::{Epoch, MachineId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Kind, ORDER_MS,
    act::{Act, End, Of},
    input_of, value_of, waiting,
};

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Disable {
    pub(crate) machine: MachineId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) delete: bool,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Disable.name()
    }

    fn title(&self, input: &Value) -> String {
        let fate = if input["delete"] == true { "delete" } else { "keep" };
        format!("End the protection of '{}', {fate} the replica", input["name"].as_str().unwrap_or("?"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Disable { source, target, delete, .. } = input_of(input)?;
        let later = "the end stands; a host that is away learns of it when it is back";
        let goes = "the replica goes when its host is back, as ordered";
        let replica = match delete {
            true => format!("Delete the replica on host '{target}'"),
            false => format!("Keep the replica on host '{target}'"),
        };
        Ok(vec![
            Node::group(
                "stop",
                "Stop replication",
                Order::Parallel,
                vec![
                    Node::step("source", &format!("Stop on host '{source}'"), waiting(ORDER_MS, later)),
                    Node::step("target", &format!("Stop on host '{target}'"), waiting(ORDER_MS, later)),
                ],
            ),
            Node::step("replica", &replica, waiting(ORDER_MS, goes)),
        ])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(Disable { machine, epoch, delete, .. }) = input_of(known.input()) else { return Value::Null };
        let of = Of { machine, epoch };
        match step {
            "source" => value_of(&Act::Stopped { of, end: End::Source }),
            "target" => value_of(&Act::Stopped { of, end: End::Target }),
            "replica" => value_of(&Act::Replica { of, delete }),
            _ => Value::Null,
        }
    }
}

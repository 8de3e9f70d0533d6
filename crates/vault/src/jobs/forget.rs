//! Forgetting a protection: it has ended with the job itself. Hosts that answer stop at once;
//! nobody is waited for who does not, for that is why it was forgotten. Such a host learns of
//! it when it is back, and deletes nothing.

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
pub(crate) struct Forgetting {
    pub(crate) machine: MachineId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) target: String,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Forget.name()
    }

    fn title(&self, input: &Value) -> String {
        format!("Forget the protection of '{}'", input["name"].as_str().unwrap_or("?"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Forgetting { source, target, .. } = input_of(input)?;
        let later = "it is forgotten; a host that is away learns of it when it is back";
        let step = |name, host: &str| {
            Node::step(name, &format!("Stop on host '{host}', if it is there"), waiting(ORDER_MS, later))
        };
        let ends = vec![step("source", &source), step("target", &target)];
        Ok(vec![Node::group("stop", "Stop replication", Order::Parallel, ends)])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(Forgetting { machine, epoch, .. }) = input_of(known.input()) else { return Value::Null };
        let of = Of { machine, epoch };
        match step {
            "source" => value_of(&Act::Informed { of, end: End::Source }),
            "target" => value_of(&Act::Informed { of, end: End::Target }),
            _ => Value::Null,
        }
    }
}

//! Discarding a replica that no protection wants: its host is asked, as long as it is there.

use farshore_job::{JobError, Known, Node};
use farshore_types::{Epoch, HostId, MachineId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, ORDER_MS, act::Act, input_of, value_of, waiting};

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Discarding {
    pub(crate) machine: MachineId,
    pub(crate) host: HostId,
    /// That of the replica, as its host said.
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) target: String,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Discard.name()
    }

    fn title(&self, input: &Value) -> String {
        let of = |key: &str| input[key].as_str().unwrap_or("?").to_owned();
        format!("Discard the replica of '{}' on host '{}'", of("name"), of("target"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Discarding { target, .. } = input_of(input)?;
        let stays = "what was not deleted stays where it is";
        let title = format!("Delete it on host '{target}'");
        Ok(vec![Node::step("delete", &title, waiting(ORDER_MS, stays))])
    }

    fn action(&self, _: &str, known: &Known<'_>) -> Value {
        let Ok(Discarding { machine, host, epoch, .. }) = input_of(known.input()) else { return Value::Null };
        value_of(&Act::Discard { machine, host, epoch })
    }
}

//! Moving a replica to another host: the order changes the target at once, under a new epoch.
//! The old host keeps what it has until the copy is whole; only then does it give it up, where
//! that was ordered. Cancelled before that, or where the machine could not start there, the
//! old host is the target again, and what the new one got goes where it had nothing before.

use farshore_job::{Cancel, JobError, Known, Node, OnFailure, Order, StepSpec, Undo};
use farshore_types::{Epoch, HostId, MachineId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CHECK_MS, COPY_MS, Kind, ORDER_MS,
    act::{Act, Back, End, Of},
    asking, input_of, value_of, waiting,
};

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moving {
    pub(crate) machine: MachineId,
    /// By which the copy is written.
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) from: HostId,
    pub(crate) from_name: String,
    pub(crate) from_place: Option<String>,
    pub(crate) to: HostId,
    /// By which the replica on the old host was written.
    pub(crate) old: Epoch,
    /// Whether the new host had no replica before.
    pub(crate) fresh: bool,
    /// Whether the old host's replica goes in the end.
    pub(crate) delete: bool,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Move.name()
    }

    fn title(&self, input: &Value) -> String {
        let of = |key: &str| input[key].as_str().unwrap_or("?").to_owned();
        format!("Move the replica of '{}' from host '{}' to '{}'", of("name"), of("from_name"), of("target"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Moving { target, from_name, delete, .. } = input_of(input)?;
        let with_order = "it is taken back with the order";
        let verdict = StepSpec {
            cancel: Cancel::Now,
            ..StepSpec::effect(CHECK_MS, Undo::SafeToLeave { why: "an opinion changes nothing".to_owned() })
        };
        let ask = StepSpec { deadline_ms: Some(ORDER_MS), ..asking(ORDER_MS) };
        let told = StepSpec { on_failure: OnFailure::Stop, ..waiting(ORDER_MS, with_order) };
        let copy = StepSpec { on_failure: OnFailure::Stop, ..waiting(COPY_MS, with_order) };
        let switch = waiting(ORDER_MS, "the new replica is whole, and stays the one that counts");
        let old = match delete {
            true => format!("Delete the old replica on host '{from_name}'"),
            false => format!("Keep the old replica on host '{from_name}'"),
        };
        let stays = "the old replica stays where it is: `farshore replica discard` deletes it";
        let check = vec![
            Node::step("ask", &format!("Ask host '{target}' whether it could start there"), ask),
            Node::step("verdict", "It could start there", verdict),
        ];
        let copies = vec![
            Node::step("prepare", &format!("Let host '{target}' make itself ready"), told),
            Node::step("copy", "Copy, to the first whole recovery point", copy),
        ];
        let work = vec![
            Node::group("check", "Check", Order::Sequence, check),
            Node::group("replicate", "Replicate", Order::Sequence, copies),
        ];
        Ok(vec![
            Node::step("order", "Order the move", StepSpec::effect(ORDER_MS, Undo::Effect)),
            Node::group("work", "Check and copy", Order::Parallel, work),
            Node::step("switch", "The new replica counts", switch),
            Node::step("old", &old, waiting(ORDER_MS, stays)),
        ])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(input) = input_of::<Moving>(known.input()) else { return Value::Null };
        let of = Of { machine: input.machine, epoch: input.epoch };
        match step {
            "order" => value_of(&Act::Ordered(of)),
            "ask" => value_of(&Act::Startable(of)),
            "verdict" => {
                let told = known.result("ask")["problems"].clone();
                value_of(&Act::Verdict { problems: serde_json::from_value(told).unwrap_or_default() })
            }
            "prepare" => value_of(&Act::Told { of, end: End::Target }),
            "copy" => value_of(&Act::FirstCopy(of)),
            "switch" => value_of(&Act::Switch { of, to: input.to }),
            "old" => {
                let (host, epoch, delete) = (input.from, input.old, input.delete);
                value_of(&Act::LetGo { of, host, epoch, delete })
            }
            _ => Value::Null,
        }
    }

    fn undo(&self, _: &str, known: &Known<'_>) -> Value {
        let Ok(input) = input_of::<Moving>(known.input()) else { return Value::Null };
        let of = Of { machine: input.machine, epoch: input.epoch };
        let Moving { from, from_place: place, to, fresh, .. } = input;
        value_of(&Act::MoveBack(Back { of, from, place, to, fresh }))
    }
}

//! Enabling a protection: it is ordered with the job itself, so that the copy begins at once;
//! meanwhile it is found out whether the machine could start at the target. Where it could
//! not, or where it is cancelled, everything is taken back.

use farshore_job::{Cancel, JobError, Known, Node, OnFailure, Order, StepSpec, Undo};
use farshore_types::{Epoch, MachineId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CHECK_MS, COPY_MS, Kind, ORDER_MS,
    act::{Act, End, Of},
    asking, input_of, value_of, waiting,
};

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Enabling {
    pub(crate) machine: MachineId,
    pub(crate) epoch: Epoch,
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) target: String,
    /// Whether the target had no replica before, and so none is wanted if it is taken back.
    pub(crate) fresh: bool,
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Enable.name()
    }

    fn title(&self, input: &Value) -> String {
        let of = |key: &str| input[key].as_str().unwrap_or("?").to_owned();
        format!("Protect machine '{}' of host '{}' on host '{}'", of("name"), of("source"), of("target"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Enabling { target, .. } = input_of(input)?;
        let order = StepSpec { undo: Undo::Effect, ..StepSpec::effect(ORDER_MS, Undo::Effect) };
        let with_order = "it is taken back with the order";
        let verdict = StepSpec {
            cancel: Cancel::Now,
            ..StepSpec::effect(CHECK_MS, Undo::SafeToLeave { why: "an opinion changes nothing".to_owned() })
        };
        // A host that is away when it is asked is asked until it is back.
        let ask = StepSpec { deadline_ms: Some(ORDER_MS), ..asking(ORDER_MS) };
        let told = StepSpec { on_failure: OnFailure::Stop, ..waiting(ORDER_MS, with_order) };
        let copy = StepSpec { on_failure: OnFailure::Stop, ..waiting(COPY_MS, with_order) };
        let check = vec![
            Node::step("ask", &format!("Ask host '{target}' whether it could start there"), ask),
            Node::step("verdict", "It could start there", verdict),
        ];
        let copies = vec![
            Node::step("prepare", &format!("Let host '{target}' make itself ready"), told),
            Node::step("copy", "First copy, to the first recovery point", copy),
        ];
        Ok(vec![
            Node::step("order", "Order the protection", order),
            Node::group(
                "work",
                "Check and copy",
                Order::Parallel,
                vec![
                    Node::group("check", "Check", Order::Sequence, check),
                    Node::group("replicate", "Replicate", Order::Sequence, copies),
                ],
            ),
        ])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(Enabling { machine, epoch, .. }) = input_of(known.input()) else { return Value::Null };
        let of = Of { machine, epoch };
        match step {
            "order" => value_of(&Act::Ordered(of)),
            "ask" => value_of(&Act::Startable(of)),
            "verdict" => {
                let told = known.result("ask")["problems"].clone();
                value_of(&Act::Verdict { problems: serde_json::from_value(told).unwrap_or_default() })
            }
            "prepare" => value_of(&Act::Told { of, end: End::Target }),
            "copy" => value_of(&Act::FirstCopy(of)),
            _ => Value::Null,
        }
    }

    fn undo(&self, _: &str, known: &Known<'_>) -> Value {
        let Ok(Enabling { machine, epoch, fresh, .. }) = input_of(known.input()) else { return Value::Null };
        value_of(&Act::Withdraw { of: Of { machine, epoch }, delete: fresh })
    }
}

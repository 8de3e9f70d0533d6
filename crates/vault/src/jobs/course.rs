//! Jobs of a protection's life: failover in all its forms, and the way home. Nothing of it is
//! done here: hosts read what is wanted of them in their documents, and what they report makes
//! the life go on. The steps only look whether it has come to where they wait for; but for what
//! time decides (`reached`): a machine that does not shut down, a last cycle that does not come, a try
//! that takes too long. A move that has lost its job gets another one for that.

use farshore_job::{JobError, Known, Node, OnFailure, StepSpec};
use farshore_protection::{Begin, Choice, Contest, HandOver, Order, Stage, Why};
use farshore_types::{Epoch, MachineId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, ORDER_MS, act::Act, input_of, value_of, waiting};
use crate::rows::ProtectionRow;

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Course {
    pub(crate) machine: MachineId,
    pub(crate) title: String,
    pub(crate) steps: Vec<Stretch>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stretch {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) goal: Goal,
}

/// Where a life is to come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "goal")]
pub(crate) enum Goal {
    /// The machine is off, to be handed over by this epoch.
    Stopped { next: Epoch, power_off: bool },
    /// It is sealed.
    Sealed { next: Epoch },
    /// It was accepted.
    Accepted { next: Epoch },
    /// It runs on the other side.
    Runs { next: Epoch },
    /// It is sealed, or was not in time: then it is brought up without.
    Tried { next: Epoch, point: Choice },
    /// It runs there by this epoch, or a later one.
    RunsSince { next: Epoch },
    /// The hand-over is given up.
    Aborted { next: Epoch },
    /// It was brought up, by that order of that epoch.
    Up { epoch: Epoch, order: u64 },
    /// Both hosts know.
    Known { epoch: Epoch },
    /// The other side's disks are the replica.
    Adopted { epoch: Epoch },
    /// The other side has everything.
    Copied { epoch: Epoch },
    /// The copy of a test failover runs.
    DrillOpen { order: u64 },
    /// Nothing of it is left.
    DrillGone { order: u64 },
    /// The disks are the machine's own.
    Flat { epoch: Epoch },
}

fn stretch(name: &str, title: String, goal: Goal) -> Stretch {
    Stretch { name: name.to_owned(), title, goal }
}

/// By which people know what a job is about.
struct Names<'a> {
    machine: &'a str,
    source: &'a str,
    target: &'a str,
}

/// A kind, a title and steps.
type Told = (Kind, String, Vec<Stretch>);

impl Course {
    /// The job that sees to what an order has begun, and its kind; `row` has the life as it is
    /// now, and the names are those of its source and target.
    pub(crate) fn of(
        row: &ProtectionRow,
        begin: Begin,
        order: &Order,
        [source, target]: [&str; 2],
    ) -> Option<(Kind, Course)> {
        let (life, epoch) = (&row.life, row.life.epoch);
        let names = Names { machine: &row.name, source, target };
        let (kind, title, steps) = match (begin, &life.stage) {
            (Begin::HandOver | Begin::TryHandOver | Begin::Abort, Stage::HandingOver(over)) => {
                names.of_hand_over(begin, over, order.point)
            }
            (Begin::BringUp, Stage::BringingUp(up)) => names.of_bring_up(up.then, epoch, life.ups),
            (Begin::Commit, _) => names.of_commit(epoch),
            (Begin::Reverse, _) => names.of_reverse(epoch),
            (Begin::Drill, _) => names.of_drill(life.drill.as_ref()?.order),
            (Begin::CleanUp, _) => names.of_clean_up(life.drill.as_ref()?.order),
            (Begin::Flatten, _) => names.of_flatten(epoch),
            // Those of the first copy, of the end and of a comparison have definitions of their own.
            _ => return None,
        };
        Some((kind, Course { machine: row.machine, title, steps }))
    }
}

impl Names<'_> {
    fn of_hand_over(&self, begin: Begin, over: &HandOver, point: Choice) -> Told {
        let Names { machine, source, target } = self;
        let next = over.next;
        match (begin, over.why) {
            (Begin::TryHandOver, _) => {
                let title =
                    format!("Fail machine '{machine}' over to host '{target}', and try to stop it first");
                let tries = format!("Stop it on host '{source}' and send the rest, if that can be");
                let runs = format!("Bring it up on host '{target}'");
                let steps = vec![
                    stretch("try", tries, Goal::Tried { next, point }),
                    stretch("run", runs, Goal::RunsSince { next }),
                ];
                (Kind::UnplannedFailover, title, steps)
            }
            (Begin::Abort, _) => {
                let title = format!("Give the move of '{machine}' to host '{target}' up");
                let back = format!("It runs on host '{source}' again");
                (Kind::AbortFailover, title, vec![stretch("back", back, Goal::Aborted { next })])
            }
            (_, Why::Planned) => {
                let title = format!("Move machine '{machine}' from host '{source}' to '{target}'");
                (Kind::PlannedFailover, title, hand_over(next, over.power_off, source, target))
            }
            (_, Why::Cancel) => {
                let title = format!("Take the failover of '{machine}' to host '{source}' back");
                (Kind::CancelFailover, title, hand_over(next, over.power_off, source, target))
            }
        }
    }

    fn of_bring_up(&self, then: Contest, epoch: Epoch, order: u64) -> Told {
        let Names { machine, source, .. } = self;
        let (kind, title) = match then {
            Contest::OtherPoint => {
                (Kind::ChangePoint, format!("Bring machine '{machine}' up at another point"))
            }
            Contest::Failover => {
                (Kind::UnplannedFailover, format!("Fail machine '{machine}' over to host '{source}'"))
            }
            Contest::TakeBack => {
                (Kind::UnplannedFailover, format!("Take machine '{machine}' back on host '{source}'"))
            }
            Contest::Winner => {
                (Kind::UnplannedFailover, format!("Let host '{source}' be the owner of machine '{machine}'"))
            }
        };
        let runs = format!("It runs on host '{source}'");
        (kind, title, vec![stretch("run", runs, Goal::Up { epoch, order })])
    }

    fn of_commit(&self, epoch: Epoch) -> Told {
        let told = "Both hosts let go what was kept for a change".to_owned();
        let title = format!("Commit the failover of '{}'", self.machine);
        (Kind::Commit, title, vec![stretch("told", told, Goal::Known { epoch })])
    }

    fn of_reverse(&self, epoch: Epoch) -> Told {
        let Names { machine, source, target } = self;
        let adopts = format!("Host '{target}' keeps what it wrote itself, and adopts its disks");
        let copies = "Compare, and send what differs".to_owned();
        let steps = vec![
            stretch("adopt", adopts, Goal::Adopted { epoch }),
            stretch("copy", copies, Goal::Copied { epoch }),
        ];
        (Kind::Reverse, format!("Replicate machine '{machine}' from host '{source}' to '{target}'"), steps)
    }

    fn of_drill(&self, order: u64) -> Told {
        let Names { machine, target, .. } = self;
        let opens = format!("Its copy runs on host '{target}'");
        let title = format!("Test the failover of '{machine}' on host '{target}'");
        (Kind::TestFailover, title, vec![stretch("open", opens, Goal::DrillOpen { order })])
    }

    fn of_clean_up(&self, order: u64) -> Told {
        let gone = "Every trace of it is removed".to_owned();
        let title = format!("Clean up the test failover of '{}'", self.machine);
        (Kind::CleanUp, title, vec![stretch("gone", gone, Goal::DrillGone { order })])
    }

    fn of_flatten(&self, epoch: Epoch) -> Told {
        let flat = format!("Its disks on host '{}' are its own", self.source);
        let title = format!("Flatten the disks of '{}'", self.machine);
        (Kind::Flatten, title, vec![stretch("flat", flat, Goal::Flat { epoch })])
    }
}

fn hand_over(next: Epoch, power_off: bool, source: &str, target: &str) -> Vec<Stretch> {
    let stop = format!("Shut the machine down on host '{source}'");
    vec![
        stretch("stop", stop, Goal::Stopped { next, power_off }),
        stretch("seal", "Send the rest, and seal it".to_owned(), Goal::Sealed { next }),
        stretch("accept", format!("Host '{target}' accepts it"), Goal::Accepted { next }),
        stretch("run", format!("It runs on host '{target}'"), Goal::Runs { next }),
    ]
}

pub(super) struct Definition(pub(super) Kind);

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        self.0.name()
    }

    fn title(&self, input: &Value) -> String {
        input["title"].as_str().unwrap_or("?").to_owned()
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Course { steps, .. } = input_of(input)?;
        let stays = "only the waiting ends: what was ordered goes on, as the protection shows";
        let spec = || StepSpec { on_failure: OnFailure::Stop, ..waiting(ORDER_MS, stays) };
        Ok(steps.iter().map(|step| Node::step(&step.name, &step.title, spec())).collect())
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(Course { machine, steps, .. }) = input_of(known.input()) else { return Value::Null };
        let goal = steps.into_iter().find(|stretch| stretch.name == step).map(|stretch| stretch.goal);
        goal.map_or(Value::Null, |goal| value_of(&Act::Course { machine, goal }))
    }
}

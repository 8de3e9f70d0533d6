//! What holds for every state and operation of a protection's life, and along every way.
#![expect(clippy::unwrap_used, reason = "what cannot go on in a test fails it")]

#[path = "life/answers.rs"]
mod answers;
#[path = "life/fencing.rs"]
mod fencing;
#[path = "life/orderly.rs"]
mod orderly;
#[path = "life/page.rs"]
mod page;
#[path = "life/stories.rs"]
mod stories;
#[path = "life/there.rs"]
mod there;
#[path = "life/versions.rs"]
mod versions;
#[path = "life/ways_out.rs"]
mod ways_out;

use farshore_protection::{
    Drill, DrillPhase, Event, Facts, Flat, Input, Life, Operation, Order, Reason, Report, Seen, Speaks, Step,
};
use farshore_types::{HostId, PointId};
use uuid::Uuid;

/// The host on which examples were enabled.
pub(crate) const HERE: HostId = HostId(Uuid::from_u128(1));
/// The other one.
pub(crate) const THERE: HostId = HostId(Uuid::from_u128(2));

/// A point of an example.
pub(crate) const fn point(number: u64) -> PointId {
    PointId { epoch: 1, number }
}

/// Ways in which a life goes on in tests.
pub(crate) trait Ways: Sized {
    /// The same with everything that goes beside a state.
    fn variants(&self) -> Vec<Self>;
    fn order_now(&self, order: Order, facts: &Facts) -> Result<Step, Reason>;
    /// As somebody orders it who has just looked, and confirms everything.
    fn does(&self, operation: Operation, facts: &Facts) -> Result<Self, Reason>;
    fn hears(&self, event: Event, facts: &Facts) -> Self;
}

impl Ways for Life {
    fn variants(&self) -> Vec<Life> {
        let drills = [DrillPhase::Opening, DrillPhase::Open, DrillPhase::CleaningUp]
            .map(|phase| Some(Drill::of(phase)));
        let flats = [Flat::Own, Flat::Layered, Flat::Scheduled { at_ms: 1 }, Flat::Flattening];
        let mut lives = vec![self.clone()];
        lives.extend(drills.map(|drill| Life { drill, ..self.clone() }));
        lives.extend(flats.map(|flat| Life { flat, ..self.clone() }));
        lives.push(Life { paused: true, ..self.clone() });
        lives
    }

    fn order_now(&self, order: Order, facts: &Facts) -> Result<Step, Reason> {
        self.step(&Input::Order(Box::new(order)), facts)
    }

    fn does(&self, operation: Operation, facts: &Facts) -> Result<Life, Reason> {
        let token = u128::from(self.version) + 1000;
        self.order_now(self.example_order(operation, token), facts).map(|step| step.life)
    }

    fn hears(&self, event: Event, facts: &Facts) -> Life {
        let report = Report { epoch: self.epoch, event };
        self.step(&Input::Report(report), facts).unwrap().life
    }
}

fn all_lives() -> impl Iterator<Item = Life> {
    Life::examples().into_iter().flat_map(|life| life.variants())
}

/// What can be seen around a life, as far as it makes a difference.
fn all_facts(life: &Life) -> Vec<Facts> {
    let mut all = Vec::new();
    let seens = |well: &Seen| {
        let full = Seen { stands_against: Some("its disk is full".to_owned()), ..well.clone() };
        let unsure = Seen { runs: None, ..well.clone() };
        let runs = Seen { runs: Some(true), ..well.clone() };
        [well.clone(), Seen::lost(), full, unsure, runs]
    };
    let well = life.example_facts();
    for source in seens(&well.source) {
        for target in seens(&well.target) {
            for whole_point in [false, true] {
                for speaks in [Speaks::Yes, Speaks::Learning, Speaks::Superseded] {
                    for not_current in [None, Some("cycles fail".to_owned())] {
                        let (source, target) = (source.clone(), target.clone());
                        let facts =
                            Facts { speaks, source, target, whole_point, not_current, ..Facts::well() };
                        all.push(facts);
                    }
                }
            }
        }
    }
    all
}

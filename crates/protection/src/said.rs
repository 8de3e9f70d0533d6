//! What a host's report comes to for a life: the events that it tells, in their order. Here is
//! decided what is believed of a report that may be old. This module must never change a life.

use farshore_ownership::Lineage;
use farshore_types::{Epoch, HostId, PointId};
use serde::{Deserialize, Serialize};

use crate::{Contest, Event, Life, Phase, Stage};

/// What a host says of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Said {
    /// Which host.
    pub host: HostId,
    /// What it durably holds of the lineage.
    pub lineage: Lineage,
    /// Whether the machine runs there.
    pub runs: bool,
    /// By which epoch and order, and at which point, it was brought up there last.
    pub brought_up: Option<BroughtUp>,
    /// Whether it said so while it held the newest document of the machine: what it says of
    /// what it was told to do counts only then.
    pub current: bool,
    /// Why it could not start the machine, if it could not.
    pub cannot_run: Option<String>,
    /// Whether it has kept what it wrote itself, and whether it had disks to adopt.
    pub adopted: Option<bool>,
}

/// How a machine was brought up on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BroughtUp {
    /// By which epoch.
    pub epoch: Epoch,
    /// By which order of that epoch; 0 where it was started by a seal, or by a person there.
    #[serde(default)]
    pub order: u64,
    /// At which point; none: as it was left there.
    #[serde(default)]
    pub at: Option<PointId>,
}

impl Life {
    /// The events that a report tells. `other` is what the other host said last.
    #[must_use]
    pub fn news_of(&self, said: &Said, other: Option<&Said>) -> Vec<Event> {
        let mut events = Vec::new();
        let lineage = &said.lineage;
        // Whoever holds an epoch tells of its owner, be it the host that lost the machine. Both
        // halves of a conflict are told.
        let knows = |loser: &Said| loser.lineage.epoch == lineage.epoch && !loser.runs;
        let loser = if lineage.owner == said.host { other } else { Some(said) };
        let alone = lineage.conflict.is_none() && loser.is_some_and(knows);
        let twice = loser.is_some_and(|loser| loser.runs);
        events.push(Event::Owned { epoch: lineage.epoch, owner: lineage.owner, alone, twice });
        if let Some(epoch) = lineage.conflict {
            let owner = if said.host == self.source { self.target } else { self.source };
            events.push(Event::Owned { epoch, owner, alone: false, twice: false });
        }
        if said.host == self.source && lineage.epoch == self.epoch {
            self.news_of_source(said, &mut events);
        } else if said.host == self.target {
            self.news_of_target(said, &mut events);
        }
        events
    }

    fn news_of_source(&self, said: &Said, events: &mut Vec<Event>) {
        match &self.stage {
            Stage::HandingOver(over) => match said.lineage.seal {
                Some(seal) if seal.next == over.next || said.current => {
                    events.push(Event::Sealed { next: seal.next, last: seal.last.id });
                }
                Some(_) => {}
                None if !said.current => {}
                None if said.runs && matches!(over.phase, Phase::Aborting { .. }) => {
                    events.push(Event::RunsAgain);
                }
                None if !said.runs => events.push(Event::Stopped),
                None => {}
            },
            // Another vault has ordered it, of which this one was never told.
            Stage::Replicating | Stage::FailedOver { .. } if said.current => {
                let seal = said.lineage.seal;
                events.extend(seal.map(|seal| Event::Sealed { next: seal.next, last: seal.last.id }));
            }
            Stage::Starting { .. } if said.runs => events.push(Event::Runs { at: None }),
            Stage::BringingUp(up) if said.runs && said.current => {
                let by_this = said.brought_up.filter(|up| up.epoch == self.epoch && up.order == self.ups);
                let as_left = matches!(up.then, Contest::TakeBack | Contest::Winner);
                if as_left || by_this.is_some() {
                    events.push(Event::Runs { at: by_this.and_then(|up| up.at) });
                }
            }
            Stage::Starting { .. } | Stage::BringingUp(_) => {
                let failed = said.cannot_run.clone().filter(|_| said.current);
                events.extend(failed.map(|why| Event::CannotRun { why }));
            }
            _ => {}
        }
    }

    fn news_of_target(&self, said: &Said, events: &mut Vec<Event>) {
        if let (Stage::Reversing { .. }, Some(had_disks), true) = (&self.stage, said.adopted, said.current) {
            events.extend([Event::OwnKept, Event::Adopted { had_disks }]);
        }
    }
}

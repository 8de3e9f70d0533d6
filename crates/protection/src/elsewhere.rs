//! What becomes of a life by what is decided without it: its replica goes to another host of the
//! same side, its end is only learned of, or a host tells that it took the machine over and is
//! too old to tell how it stands. This module must never start or stop anything.

use std::collections::BTreeSet;

use farshore_types::{Epoch, HostId};

use crate::{Copying, Facts, Flat, Kind, Life, Reason, Stage};

impl Life {
    /// Its replica goes to another host, under a new epoch of the same owner, so that no point
    /// of the new copy has the name of one of the old.
    ///
    /// # Errors
    /// Where the machine is on its way, contested, or in a drill.
    pub fn relocated(&self, to: HostId, token: u128, facts: &Facts) -> Result<Life, Reason> {
        if self.stage != Stage::Replicating || self.rival.is_some() {
            return Err(Reason::new("not-replicating", self.so(), self.instead()));
        }
        // One whose traces are being removed goes on being seen to: its host may be gone for good.
        if self.has_open_drill() {
            return Err(Reason::new("drill-open", "a test failover is open", "clean it up first"));
        }
        let epoch = self.issue(token, facts)?;
        let mut life = self.clone();
        life.own(epoch);
        if let Some(drill) = &mut life.drill {
            // It is heard there that nothing is left of it.
            drill.host.get_or_insert(self.target);
        }
        life.replica_at(to);
        life.copying = Copying::Seeding;
        life.version += 1;
        Ok(life)
    }

    /// Its replica is on a host again that has kept it whole: what counts is found by comparing.
    #[must_use]
    pub fn put_back(&self, to: HostId) -> Life {
        let mut life = self.clone();
        life.replica_at(to);
        if life.copying != Copying::Off {
            life.copying = Copying::Resync;
        }
        life.version += 1;
        life
    }

    fn replica_at(&mut self, host: HostId) {
        if self.home == self.target {
            self.home = host;
        }
        self.target = host;
    }

    /// Its end, where that is learned of or decided whatever stands against it.
    #[must_use]
    pub fn ended(&self) -> Life {
        if self.stage == Stage::Disabled {
            return self.clone();
        }
        let (stage, copying, version) = (Stage::Disabled, Copying::Off, self.version + 1);
        Life { stage, copying, version, paused: false, rival: None, drill: None, ..self.clone() }
    }

    /// A host owns the machine by a higher epoch, and says nothing of how it stands, because its
    /// agent is of before there were lives: it is believed, and nothing flows until a person has
    /// said so.
    #[must_use]
    pub fn taken_over(&self, epoch: Epoch, owner: HostId) -> Life {
        let mut life = Life { rival: None, version: self.version + 1, ..self.clone() };
        if owner == self.target {
            life.turn(epoch);
            (life.copying, life.flat) = (Copying::Off, Flat::Layered);
            life.stage = Stage::FailedOver { kind: Kind::Unplanned, at: None, kept: BTreeSet::new() };
        } else {
            life.own(epoch);
            life.paused |= owner != self.source;
            life.source = owner;
        }
        life
    }
}

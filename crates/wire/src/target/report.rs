//! What the owner reports as done, and what the source is told of it.

use farshore_types::PointRef;

use super::{Cycle, Target, Ticket, Work};
use crate::{
    frame::TargetFrame,
    messages::{Credit, DigestPage},
    refusal::Failure,
    stream::Encoded,
    violation::Violation,
};

impl Target {
    /// Records are stored (not yet durable): the Credit to write. Nothing where the cycle
    /// is over.
    ///
    /// # Errors
    /// Reports out of order: a fault of the owner's.
    pub fn appended(&mut self, ticket: Ticket) -> Result<Option<Encoded>, Violation> {
        let state = self.state();
        let Some(work) = self.current(&ticket) else { return Ok(None) };
        if !work.take_over(&ticket) {
            let what = format!("data {} was reported stored out of order", ticket.next_index.wrapping_sub(1));
            return Err(Violation::new(state, what));
        }
        let credit = Credit { index: work.taken_index, bytes: work.taken_bytes };
        Ok(self.tell(&TargetFrame::Credit(credit)))
    }

    /// The cycle is durable as `point`: the Sealed to write. Nothing where the connection
    /// is gone; the source then learns it from the next Welcome.
    ///
    /// # Errors
    /// Another point than was asked for, or with data unreported: a fault of the owner's.
    pub fn sealed(&mut self, ticket: Ticket, point: PointRef) -> Result<Option<Encoded>, Violation> {
        let (state, asked) = (self.state(), self.point_id(ticket.cycle));
        let Cycle::Sealing(work, seal) = &self.cycle else { return Ok(None) };
        if work.turn != ticket.turn {
            return Ok(None);
        }
        let same = asked.is_none_or(|id| id == point.id) && seal.root == point.root;
        if !same || !work.is_drained() {
            let what = format!("cycle {} was reported durable as point {}", ticket.cycle, point.id);
            return Err(Violation::new(state, what));
        }
        self.cycle = Cycle::None;
        self.last = Some(point);
        Ok(self.tell(&TargetFrame::Sealed(point)))
    }

    /// The owner dropped the cycle: the Failed to write. Nothing where it is over already.
    pub fn failed(&mut self, ticket: Ticket, failure: Failure) -> Option<Encoded> {
        self.current(&ticket)?;
        let cycle = ticket.cycle;
        self.cycle = Cycle::Dropped { cycle };
        self.tell(&TargetFrame::Failed { cycle, failure })
    }

    /// The page asked for: the frame to write.
    pub fn digests(&mut self, page: DigestPage) -> Option<Encoded> {
        self.asked = false;
        self.tell(&TargetFrame::Digests(page))
    }

    /// The open cycle, if the ticket is of it.
    fn current(&mut self, ticket: &Ticket) -> Option<&mut Work> {
        match &mut self.cycle {
            Cycle::Open(work) | Cycle::Sealing(work, _) if work.turn == ticket.turn => Some(work),
            _ => None,
        }
    }

    fn tell(&mut self, frame: &TargetFrame) -> Option<Encoded> {
        self.is_live().then(|| self.encode(frame))
    }
}

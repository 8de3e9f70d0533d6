//! What the target's frames mean.

use farshore_types::PointRef;

use super::{
    CycleEnd, Link, Notice, Source,
    cycle::{Cycle, point_id},
};
use crate::{
    frame::TargetFrame,
    messages::{Credit, DigestPage},
    refusal::Failure,
    stream::RawFrame,
    violation::{Rejected, Violation},
};

impl Source {
    /// Takes a frame that arrived.
    ///
    /// # Errors
    /// [`Rejected::Frame`] where the payload means nothing, [`Rejected::Violation`] where
    /// the frame may not come now. The connection must be given up.
    pub fn receive(&mut self, raw: RawFrame) -> Result<Notice, Rejected> {
        let state = self.state();
        match &mut self.link {
            Link::Greeting(numbers) => numbers.check_in(&raw.header, state)?,
            Link::Live(live) => live.numbers.check_in(&raw.header, state)?,
            Link::Offline | Link::Ended => {
                return Err(Violation::new(state, "a frame came while no session is open").into());
            }
        }
        let frame = TargetFrame::decode(raw)?;
        Ok(self.take(frame)?)
    }

    fn take(&mut self, frame: TargetFrame) -> Result<Notice, Violation> {
        let greeting = matches!(self.link, Link::Greeting(_));
        match frame {
            TargetFrame::Welcome(welcome) if greeting => self.welcomed(welcome),
            TargetFrame::Refuse(refusal) => {
                self.link = Link::Ended;
                Ok(Notice::Refused(refusal))
            }
            frame if greeting => Err(self.out_of_place(frame.name())),
            TargetFrame::Credit(credit) => self.credited(credit),
            TargetFrame::Sealed(point) => self.sealed(point),
            TargetFrame::Failed { cycle, failure } => self.failed(cycle, failure),
            TargetFrame::Pong { nonce } => Ok(Notice::Pong { nonce }),
            TargetFrame::Digests(page) => self.digests(page),
            frame @ TargetFrame::Welcome(_) => Err(self.out_of_place(frame.name())),
        }
    }

    pub(super) fn out_of_place(&self, name: &str) -> Violation {
        Violation::new(self.state(), format!("{name} came out of place"))
    }

    fn credited(&mut self, credit: Credit) -> Result<Notice, Violation> {
        let state = self.state();
        match &mut self.cycle {
            Cycle::Open(work) | Cycle::Sealing(work, _) => {
                work.take_credit(credit).map_err(|what| Violation::new(state, what))?;
                Ok(Notice::Credit)
            }
            // Sent before the target had read the Abort.
            Cycle::Aborting { .. } => Ok(Notice::Credit),
            Cycle::None => Err(self.out_of_place("Credit")),
        }
    }

    fn sealed(&mut self, point: PointRef) -> Result<Notice, Violation> {
        let Cycle::Sealing(work, seal) = &self.cycle else { return Err(self.out_of_place("Sealed")) };
        let asked = PointRef { id: point_id(self.hello.epoch.number, work.open.cycle), root: seal.root };
        if point != asked {
            let what =
                format!("point {} was acknowledged where {} was asked for", show(&point), show(&asked));
            return Err(Violation::new(self.state(), what));
        }
        self.cycle = Cycle::None;
        self.last = Some(point);
        Ok(Notice::Ended(CycleEnd::Sealed(point)))
    }

    fn failed(&mut self, cycle: u64, failure: Failure) -> Result<Notice, Violation> {
        if self.cycle.number() != Some(cycle) {
            let what = format!("cycle {cycle} was reported failed, which is not open");
            return Err(Violation::new(self.state(), what));
        }
        self.cycle = Cycle::None;
        Ok(Notice::Ended(CycleEnd::Failed { cycle, failure }))
    }

    fn digests(&mut self, page: DigestPage) -> Result<Notice, Violation> {
        match self.asked.take() {
            Some(want) if want.disk == page.disk && want.from == page.from => Ok(Notice::Digests(page)),
            _ => Err(self.out_of_place("Digests")),
        }
    }
}

pub(super) fn show(point: &PointRef) -> String {
    format!("{} ({})", point.id, point.root)
}

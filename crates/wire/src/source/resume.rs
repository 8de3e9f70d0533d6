//! What a Welcome means for the cycle that was open when the last connection was cut.

use farshore_types::PointRef;

use super::{
    Link, Live, Notice, Resumption, Source,
    cycle::{Cycle, Work, point_id},
    receive::show,
};
use crate::{
    frame::SourceFrame,
    messages::{Abort, OpenHint, Seal, SessionId, Versions, Welcome},
    stream::Encoded,
    violation::{Numbers, Violation},
};

impl Source {
    pub(super) fn welcomed(&mut self, welcome: Welcome) -> Result<Notice, Violation> {
        let Link::Greeting(greeting) = &self.link else { return Err(self.out_of_place("Welcome")) };
        if self.hello.versions.common(&Versions { min: welcome.version, max: welcome.version }).is_none() {
            let what = format!("the target chose version {}, which was not offered", welcome.version);
            return Err(Violation::new(self.state(), what));
        }
        if welcome.open.is_some() && self.hello.resume.is_none() {
            return Err(Violation::new(
                self.state(),
                "a cycle was offered for resume that was not asked for",
            ));
        }
        let numbers = Numbers { session: welcome.session, ..*greeting };
        let (version, window) = (welcome.version, u64::from(welcome.window));
        self.link = Link::Live(Live { numbers, version, window });
        self.last = welcome.last;
        let mut send = Vec::new();
        let resumption = self.resume(&welcome, &mut send)?;
        if let Some(want) = self.asked.clone() {
            self.resend(&SourceFrame::WantDigests(want), &mut send);
        }
        Ok(Notice::Welcomed { welcome, resumption, send })
    }

    fn resume(&mut self, welcome: &Welcome, send: &mut Vec<Encoded>) -> Result<Resumption, Violation> {
        let (work, seal) = match std::mem::replace(&mut self.cycle, Cycle::None) {
            Cycle::None => return Ok(Resumption::Nothing),
            Cycle::Aborting { cycle } if welcome.open.is_none() => return Ok(Resumption::Aborted { cycle }),
            // Aborted after the Hello had asked for it.
            Cycle::Aborting { cycle } => {
                self.give_up(cycle, "given up while connecting", send);
                return Ok(Resumption::Nothing);
            }
            Cycle::Open(work) => (work, None),
            Cycle::Sealing(work, seal) => (work, Some(seal)),
        };
        if let Some(point) = self.sealed_meanwhile(&work, seal.as_ref())? {
            return Ok(Resumption::Sealed(point));
        }
        if let (Some(seal), Some(_), true) = (&seal, welcome.open, acks_early()) {
            let id = point_id(self.hello.epoch.number, work.open.cycle);
            return Ok(Resumption::Sealed(PointRef { id, root: seal.root }));
        }
        match welcome.open {
            Some(open) => self.go_on(work, seal, open, send),
            None => Ok(self.start_over(work, seal, welcome.session, send)),
        }
    }

    /// The point, where the Seal had arrived and only its acknowledgement was lost.
    fn sealed_meanwhile(&self, work: &Work, seal: Option<&Seal>) -> Result<Option<PointRef>, Violation> {
        let id = point_id(self.hello.epoch.number, work.open.cycle);
        let (Some(last), Some(seal)) = (self.last, seal) else { return Ok(None) };
        if last.id != id {
            return Ok(None);
        }
        if last.root != seal.root {
            let asked = PointRef { id, root: seal.root };
            let what = format!("the replica holds {} where {} was sealed", show(&last), show(&asked));
            return Err(Violation::new(self.state(), what));
        }
        Ok(Some(last))
    }

    /// The target still holds the cycle: what it has not taken over is sent again.
    fn go_on(
        &mut self,
        mut work: Work,
        seal: Option<Seal>,
        open: OpenHint,
        send: &mut Vec<Encoded>,
    ) -> Result<Resumption, Violation> {
        let cycle = work.open.cycle;
        if open.cycle != cycle || open.next_index > work.next_index {
            let what = format!(
                "the target resumes cycle {} at frame {}, where cycle {cycle} had {} frames",
                open.cycle, open.next_index, work.next_index
            );
            return Err(Violation::new(self.state(), what));
        }
        if open.next_index < work.first_kept() {
            self.give_up(cycle, "frames taken over before the cut are no longer held", send);
            return Ok(Resumption::Lost { cycle });
        }
        work.release(open.next_index);
        Ok(self.send_kept(work, seal, send))
    }

    /// The target knows nothing of the cycle. Where all its frames are still here and the
    /// replica is where it was, the cycle is simply begun again.
    fn start_over(
        &mut self,
        mut work: Work,
        seal: Option<Seal>,
        session: SessionId,
        send: &mut Vec<Encoded>,
    ) -> Resumption {
        if work.first_kept() > 0 || work.last != self.last {
            return Resumption::Lost { cycle: work.open.cycle };
        }
        work.opened_in = session;
        self.resend(&SourceFrame::OpenCycle(work.open.clone()), send);
        self.send_kept(work, seal, send)
    }

    fn send_kept(&mut self, mut work: Work, seal: Option<Seal>, send: &mut Vec<Encoded>) -> Resumption {
        let Link::Live(live) = &self.link else { return Resumption::Nothing };
        // A target restarted with a smaller window cannot take what a larger one allowed.
        if work.kept_bytes > live.window {
            let cycle = work.open.cycle;
            self.give_up(cycle, "the window is smaller than before the cut", send);
            return Resumption::Lost { cycle };
        }
        // What was sent, and is still to be, was chosen for a version that is no longer spoken.
        if live.version < work.version {
            let cycle = work.open.cycle;
            self.give_up(cycle, "the target speaks an older version than before the cut", send);
            return Resumption::Lost { cycle };
        }
        work.taken_bytes = 0;
        let resent_bytes = work.kept_bytes;
        if !forgets_resend() {
            for kept in &work.kept {
                self.resend(&SourceFrame::Data(kept.data.clone()), send);
            }
        }
        let reseal = seal.is_some();
        self.cycle = match seal {
            None => Cycle::Open(work),
            Some(seal) => Cycle::Sealing(work, seal),
        };
        Resumption::Resumed { resent_bytes, reseal }
    }

    /// The target holds the cycle, but it cannot go on: it is told to drop it.
    fn give_up(&mut self, cycle: u64, reason: &str, send: &mut Vec<Encoded>) {
        self.resend(&SourceFrame::Abort(Abort { cycle, reason: reason.to_owned() }), send);
        self.cycle = Cycle::Aborting { cycle };
    }

    /// Encodes a frame of the session just opened.
    fn resend(&mut self, frame: &SourceFrame, send: &mut Vec<Encoded>) {
        send.extend(self.emit("resume", frame));
    }
}

#[cfg(any(test, feature = "deliberate-bugs"))]
fn forgets_resend() -> bool {
    crate::bug::is(crate::bug::Bug::ForgetResend)
}

#[cfg(not(any(test, feature = "deliberate-bugs")))]
const fn forgets_resend() -> bool {
    false
}

#[cfg(any(test, feature = "deliberate-bugs"))]
fn acks_early() -> bool {
    crate::bug::is(crate::bug::Bug::AckEarly)
}

#[cfg(not(any(test, feature = "deliberate-bugs")))]
const fn acks_early() -> bool {
    false
}

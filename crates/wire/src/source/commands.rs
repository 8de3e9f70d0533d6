//! What the owner asks for: each method checks the state and gives the frame to write.

use bytes::Bytes;
use farshore_types::RootDigest;

use super::{
    Link, Misuse, Source,
    cycle::{Cycle, Work},
};
use crate::{
    frame::SourceFrame,
    header::HEADER_LEN,
    limits::{DEFINITION_LEN_MAX, FRAME_PAYLOAD_MAX, RECORDS_PER_FRAME_MAX},
    messages::{Abort, Data, OpenCycle, Outcome, Seal, WantDigests},
    record::Record,
    stream::Encoded,
};

impl Source {
    /// Opens a cycle.
    ///
    /// # Errors
    /// No session, or the last cycle is not over.
    pub fn open_cycle(&mut self, open: OpenCycle) -> Result<Encoded, Misuse> {
        let what = "open a cycle";
        let session = self.require_live(what)?;
        let Cycle::None = self.cycle else { return Err(self.misuse(what)) };
        self.cycle = Cycle::Open(Work::new(session, self.version(), open.clone(), self.last));
        self.emit(what, &SourceFrame::OpenCycle(open))
    }

    /// Sends records of a disk and keeps them until they are taken over.
    ///
    /// # Errors
    /// No session or open cycle, no credit, a frame over the limits, a record that breaks
    /// its rules.
    pub fn data(&mut self, disk: u16, records: Vec<Record>) -> Result<Encoded, Misuse> {
        let what = "send data";
        self.require_live(what)?;
        let needed = Self::check_size(&records)?;
        let credit = self.credit();
        let Cycle::Open(work) = &mut self.cycle else { return Err(self.misuse(what)) };
        work.check_bounds(disk, &records)?;
        if needed > credit && !ignores_window() {
            return Err(Misuse::NoCredit { needed, credit });
        }
        let data = Data { cycle: work.open.cycle, index: work.next_index, disk, records };
        work.keep(data.clone(), needed);
        self.emit(what, &SourceFrame::Data(data))
    }

    /// Bytes of a frame of these records, if one frame can carry them.
    ///
    /// # Errors
    /// [`Misuse::TooLarge`].
    pub fn check_size(records: &[Record]) -> Result<u64, Misuse> {
        let bytes = Data::wire_len(records);
        let max = u64::from(FRAME_PAYLOAD_MAX) + HEADER_LEN as u64;
        if bytes > max || records.is_empty() || records.len() > RECORDS_PER_FRAME_MAX {
            return Err(Misuse::TooLarge { records: records.len(), bytes });
        }
        Ok(bytes)
    }

    /// Asks for the open cycle to be made durable. The count of its records is the
    /// machine's own. `age_ms` is the time since the captured instant.
    ///
    /// # Errors
    /// No session, no open cycle, a definition over [`DEFINITION_LEN_MAX`].
    pub fn seal(
        &mut self,
        outcome: Outcome,
        age_ms: u64,
        root: RootDigest,
        definition: Bytes,
    ) -> Result<Encoded, Misuse> {
        let what = "seal";
        self.require_live(what)?;
        if definition.len() > DEFINITION_LEN_MAX {
            return Err(Misuse::TooLarge { records: 0, bytes: definition.len() as u64 });
        }
        match std::mem::replace(&mut self.cycle, Cycle::None) {
            Cycle::Open(work) => {
                let (cycle, records) = (work.open.cycle, work.records);
                let seal = Seal { cycle, outcome, age_ms, records, root, definition };
                self.cycle = Cycle::Sealing(work, seal.clone());
                self.emit(what, &SourceFrame::Seal(seal))
            }
            other => {
                self.cycle = other;
                Err(self.misuse(what))
            }
        }
    }

    /// Sends the Seal again after a resume said it was due, with its age as of now.
    ///
    /// # Errors
    /// No session, or nothing is being sealed.
    pub fn reseal(&mut self, age_ms: u64) -> Result<Encoded, Misuse> {
        let what = "seal again";
        self.require_live(what)?;
        let Cycle::Sealing(_, seal) = &mut self.cycle else { return Err(self.misuse(what)) };
        seal.age_ms = age_ms;
        let frame = SourceFrame::Seal(seal.clone());
        self.emit(what, &frame)
    }

    /// Gives the open cycle up. It is over when the target says so. Without a session
    /// there is nothing to write: the cycle is forgotten, or aborted once there is one.
    ///
    /// # Errors
    /// No open cycle.
    pub fn abort(&mut self, reason: &str) -> Result<Option<Encoded>, Misuse> {
        let what = "abort";
        let Cycle::Open(work) = &self.cycle else { return Err(self.misuse(what)) };
        let cycle = work.open.cycle;
        self.cycle = match self.link {
            // The next Hello names no session to resume, so the target drops it as well.
            Link::Offline | Link::Ended => Cycle::None,
            // The Hello on its way has asked for it.
            Link::Greeting(_) | Link::Live(_) => Cycle::Aborting { cycle },
        };
        if !matches!(self.link, Link::Live(_)) {
            return Ok(None);
        }
        self.emit(what, &SourceFrame::Abort(Abort { cycle, reason: reason.to_owned() })).map(Some)
    }

    /// Asks whether the target is there.
    ///
    /// # Errors
    /// No session.
    pub fn ping(&mut self, nonce: u64) -> Result<Encoded, Misuse> {
        self.emit("ping", &SourceFrame::Ping { nonce })
    }

    /// Asks for a page of digests of the last sealed element.
    ///
    /// # Errors
    /// No session, or a page is awaited already.
    pub fn want_digests(&mut self, want: WantDigests) -> Result<Encoded, Misuse> {
        let what = "ask for digests";
        self.require_live(what)?;
        if self.asked.is_some() {
            return Err(Misuse::Asked);
        }
        self.asked = Some(want.clone());
        self.emit(what, &SourceFrame::WantDigests(want))
    }

    /// Ends the session in good order.
    ///
    /// # Errors
    /// No session.
    pub fn bye(&mut self) -> Result<Encoded, Misuse> {
        let encoded = self.emit("say goodbye", &SourceFrame::Bye)?;
        self.link = Link::Ended;
        Ok(encoded)
    }

    fn misuse(&self, what: &'static str) -> Misuse {
        Misuse::Cycle { what, state: self.cycle.name() }
    }
}

#[cfg(any(test, feature = "deliberate-bugs"))]
fn ignores_window() -> bool {
    crate::bug::is(crate::bug::Bug::IgnoreWindow)
}

#[cfg(not(any(test, feature = "deliberate-bugs")))]
const fn ignores_window() -> bool {
    false
}

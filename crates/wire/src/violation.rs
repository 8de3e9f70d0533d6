//! A peer that broke the protocol.

use thiserror::Error;

use crate::{
    error::FrameError,
    header::Header,
    messages::SessionId,
    refusal::{Refusal, RefusalCode},
};

/// A frame that may not come where it came. The connection ends; nothing of the frame
/// has been acted upon.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("protocol violation in state {state}: {what}; {advice}")]
pub struct Violation {
    /// What came, with names and numbers.
    pub what: String,
    /// The state in which it came.
    pub state: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

impl Violation {
    pub(crate) fn new(state: &'static str, what: impl Into<String>) -> Violation {
        Violation {
            what: what.into(),
            state,
            advice: "the session starts anew; if this repeats, compare the versions of both agents",
        }
    }
}

impl From<&Violation> for Refusal {
    fn from(violation: &Violation) -> Refusal {
        Refusal::new(
            RefusalCode::Violation,
            format!("{} (in state {})", violation.what, violation.state),
            violation.advice,
        )
    }
}

/// A frame that a session machine did not take.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejected {
    /// Its payload means nothing. A damaged buffer of ours: resuming may help.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It may not come here. A fault of the peer: resuming will not help.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// The numbers of one live connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) session: SessionId,
    /// Sequence of the next frame sent.
    pub(crate) out: u64,
    /// Sequence of the next frame received.
    pub(crate) next_in: u64,
}

impl Numbers {
    /// Takes the sequence of the next frame sent.
    pub(crate) fn take_out(&mut self) -> u64 {
        let sequence = self.out;
        self.out += 1;
        sequence
    }

    /// A frame of another session or out of its turn is a replay, a duplicate or a loss.
    pub(crate) fn check_in(&mut self, header: &Header, state: &'static str) -> Result<(), Violation> {
        if header.session != self.session {
            let what = format!("a frame of session {} came in session {}", header.session, self.session);
            return Err(Violation::new(state, what));
        }
        if header.sequence != self.next_in {
            let what = format!("frame {} came where frame {} was due", header.sequence, self.next_in);
            return Err(Violation::new(state, what));
        }
        self.next_in += 1;
        Ok(())
    }
}

//! Connecting and greeting, the first time and after a cut.

use std::{sync::Arc, time::Duration};

use farshore_wire::{Notice, Rejected, Resumption, Source, Welcome};
use tokio::time::{Instant, sleep, timeout};

use super::runner::{Pipe, Runner};
use crate::{
    Dial, LinkError, Timing,
    backoff::Backoff,
    identity::distrust,
    pipe::{FrameReader, FrameWriter, PipeError, frames_over},
};

/// A session just opened.
pub(super) struct Greeted {
    pub(super) welcome: Welcome,
    pub(super) resumption: Resumption,
    /// From the Hello to the Welcome.
    pub(super) round_trip: Duration,
}

/// Connects once and exchanges Hello and Welcome. What a resume sends again is queued.
pub(super) async fn greet(
    machine: &mut Source,
    dial: &dyn Dial,
    timing: Timing,
) -> Result<(Pipe, Greeted), LinkError> {
    let (mut reader, mut writer) = frames_over(dial.dial().await?);
    writer.push(machine.connect());
    let greeted = match timeout(timing.handshake, exchange(machine, &mut reader, &mut writer)).await {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(problem)) => {
            machine.disconnect();
            return Err(problem.explain(dial, timing));
        }
        Err(_) => {
            machine.disconnect();
            return Err(Problem::Silent.explain(dial, timing));
        }
    };
    Ok(((reader, writer), greeted))
}

async fn exchange(
    machine: &mut Source,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<Greeted, Problem> {
    let begun = Instant::now();
    let wrote = writer.write_out().await;
    // A peer that refuses our certificate says so and closes, at times before all is
    // written: what it said is the better reason.
    let raw = reader.next().await;
    wrote?;
    match machine.receive(raw?)? {
        Notice::Welcomed { welcome, resumption, send } => {
            tracing::debug!(session = welcome.session.0, ?resumption, "session open");
            send.into_iter().for_each(|frame| writer.push(frame));
            Ok(Greeted { welcome, resumption, round_trip: begun.elapsed() })
        }
        Notice::Refused(refusal) => Err(Problem::Refused(refusal)),
        // The machine lets nothing else through before Welcome.
        _ => Err(Problem::Silent),
    }
}

/// What can go wrong while greeting.
enum Problem {
    Pipe(PipeError),
    Rejected(Rejected),
    Refused(farshore_wire::Refusal),
    Silent,
}

impl From<PipeError> for Problem {
    fn from(error: PipeError) -> Self {
        Problem::Pipe(error)
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        Problem::Rejected(rejected)
    }
}

impl Problem {
    fn explain(self, dial: &dyn Dial, timing: Timing) -> LinkError {
        let peer = dial.peer();
        let cut = |why: String, peer| LinkError::Cut { peer, why, tried: timing.handshake };
        match self {
            Problem::Refused(refusal) => LinkError::Refused { peer, refusal },
            Problem::Rejected(Rejected::Violation(source)) => LinkError::Violation { peer, source },
            Problem::Rejected(Rejected::Frame(error)) => cut(error.to_string(), peer),
            Problem::Silent => cut("no answer to Hello".to_owned(), peer),
            Problem::Pipe(PipeError::Io(error)) => match distrust(&error, &peer) {
                Some((why, advice)) => LinkError::Untrusted { peer, why, advice },
                None => cut(error.to_string(), peer),
            },
            Problem::Pipe(error) => cut(error.to_string(), peer),
        }
    }
}

impl Runner {
    /// Reconnects until a session is open again, or a reason not to, or the time is over.
    pub(super) async fn heal(&mut self, mut why: String) -> Result<Pipe, LinkError> {
        let deadline = Instant::now() + self.options.heal_for;
        let mut backoff = Backoff::new();
        loop {
            let attempt = greet(&mut self.machine, &*self.dial, self.options.timing);
            match tokio::time::timeout_at(deadline, attempt).await {
                Ok(Ok(((reader, mut writer), greeted))) => {
                    (self.heard, self.round_trip) = (Instant::now(), greeted.round_trip);
                    self.welcome.send_replace(Arc::new(greeted.welcome));
                    self.resumed(&greeted.resumption, &mut writer);
                    return Ok((reader, writer));
                }
                Ok(Err(error)) if !error.is_recoverable() => return Err(error),
                Ok(Err(error)) => why = error.to_string(),
                Err(_) => {}
            }
            self.machine.disconnect();
            let pause = backoff.next_pause();
            if Instant::now() + pause >= deadline {
                let (peer, tried) = (self.dial.peer(), self.options.heal_for);
                return Err(LinkError::Cut { peer, why, tried });
            }
            sleep(pause).await;
        }
    }
}

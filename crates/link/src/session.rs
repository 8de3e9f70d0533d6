//! The source's end of a session: cycles are opened, filled and sealed; cuts are healed
//! underneath.

mod command;
mod heal;
mod runner;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use farshore_types::{DiskKey, Epoch, MachineId, PointRef, RootDigest};
use farshore_wire::{
    Data, DigestPage, Hello, OpenCycle, Outcome, Record, Source, Versions, WantDigests, Welcome,
    limits::RECORDS_PER_FRAME_MAX,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Dial, Endpoint, Identity, LinkError, RateLimit, Timing, TlsDial,
    limits::{FRAME_TARGET, HEAL_DEFAULT},
};
use command::{Command, Reply};
use runner::Runner;

/// For whom a session is opened.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// The machine to replicate.
    pub machine: MachineId,
    /// Its name, for people.
    pub machine_name: String,
    /// The epoch the source owns it by.
    pub epoch: Epoch,
    /// This agent's name and version, for people.
    pub agent: String,
}

/// How a session behaves.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How long a cut is healed before the session ends.
    pub heal_for: Duration,
    /// Limits what `send` sends.
    pub rate: RateLimit,
    /// Deadlines of each connection.
    pub timing: Timing,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions { heal_for: HEAL_DEFAULT, rate: RateLimit::new(None), timing: Timing::default() }
    }
}

/// A live session. Dropping it closes the connection without a goodbye, so that an open
/// cycle might be resumed; [`Session::bye`] ends it in good order.
///
/// Dropping the future of a method does not undo it: what was asked may still happen.
/// After that, only `abort` (where a cycle is open) or dropping the session make sense.
#[derive(Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    welcome: watch::Receiver<Arc<Welcome>>,
    end: Arc<OnceLock<(String, bool)>>,
    peer: String,
    rate: RateLimit,
    runner: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens a session over TLS. One attempt; the owner decides when to try again.
    ///
    /// # Errors
    /// [`LinkError`]: no connection, no trust, refused.
    pub async fn connect(
        endpoint: &Endpoint,
        identity: &Identity,
        greeting: Greeting,
        options: SessionOptions,
    ) -> Result<Session, LinkError> {
        let dial = TlsDial::new(endpoint.clone(), identity.clone(), options.timing.handshake);
        Session::over(Arc::new(dial), greeting, options).await
    }

    /// Opens a session over whatever connections `dial` makes.
    ///
    /// # Errors
    /// [`LinkError`]: no connection, no trust, refused.
    pub async fn over(
        dial: Arc<dyn Dial>,
        greeting: Greeting,
        options: SessionOptions,
    ) -> Result<Session, LinkError> {
        let mut machine = Source::new(Hello {
            versions: Versions::OURS,
            machine: greeting.machine,
            machine_name: greeting.machine_name,
            epoch: greeting.epoch,
            agent: greeting.agent,
            resume: None,
        });
        let (peer, rate) = (dial.peer(), options.rate.clone());
        let (pipe, greeted) = heal::greet(&mut machine, &*dial, options.timing).await?;
        let (publish, welcome) = watch::channel(Arc::new(greeted.welcome));
        let (commands, inbox) = mpsc::channel(1);
        let runner = Runner::new(machine, dial, options, inbox, publish, greeted.round_trip);
        let end = runner.end();
        let runner = AbortOnDropHandle::new(tokio::spawn(runner.run(pipe)));
        Ok(Session { commands, welcome, end, peer, rate, runner })
    }

    /// What the target said when the current connection was opened; after a healed cut,
    /// what it said then.
    #[must_use]
    pub fn welcome(&self) -> Arc<Welcome> {
        Arc::clone(&self.welcome.borrow())
    }

    /// Opens a cycle.
    ///
    /// # Errors
    /// [`LinkError`]; that the target cannot take the cycle is told by the next call.
    pub async fn open_cycle(&mut self, open: OpenCycle) -> Result<(), LinkError> {
        self.ask(|reply| Command::Open(open, reply)).await
    }

    /// Sends records of the cycle's disk with this index, in as many frames as they need,
    /// waiting for bandwidth and credit. When it returns they are on their way.
    ///
    /// # Errors
    /// [`LinkError::Cycle`] where the cycle is over, else what ended the session.
    pub async fn send(&mut self, disk: u16, records: Vec<Record>) -> Result<(), LinkError> {
        for records in frames_of(records) {
            self.rate.take(Data::wire_len(&records)).await;
            self.ask(|reply| Command::Send { disk, records, reply }).await?;
        }
        Ok(())
    }

    /// Asks for the cycle to be made durable, and waits for it. `captured` is the instant
    /// that the cycle shows.
    ///
    /// # Errors
    /// [`LinkError::Cycle`] where the cycle is over, else what ended the session. After
    /// any other error than `Cycle` and `Misuse` the point may exist all the same: the
    /// next session's Welcome tells.
    pub async fn seal(
        &mut self,
        outcome: Outcome,
        captured: Instant,
        root: RootDigest,
        definition: Bytes,
    ) -> Result<PointRef, LinkError> {
        self.ask(|reply| Command::Seal { outcome, captured, root, definition, reply }).await
    }

    /// Gives the open cycle up, and waits until the target has dropped it. Does nothing
    /// where none is open.
    ///
    /// # Errors
    /// What ended the session.
    pub async fn abort(&mut self, reason: &str) -> Result<(), LinkError> {
        self.ask(|reply| Command::Abort { reason: reason.to_owned(), reply }).await
    }

    /// A page of digests of the last sealed element, from a cluster on. The next page
    /// begins at [`DigestPage::next`].
    ///
    /// # Errors
    /// What ended the session.
    pub async fn digests(&mut self, disk: &DiskKey, from: u64) -> Result<DigestPage, LinkError> {
        let want = WantDigests { disk: disk.clone(), from };
        self.ask(|reply| Command::Digests(want, reply)).await
    }

    /// Time that a Ping takes to the target and back.
    ///
    /// # Errors
    /// What ended the session.
    pub async fn ping(&mut self) -> Result<Duration, LinkError> {
        self.ask(Command::Ping).await
    }

    /// Ends the session in good order: the target forgets an open cycle.
    ///
    /// # Errors
    /// What ended the session before.
    pub async fn bye(mut self) -> Result<(), LinkError> {
        self.ask(Command::Bye).await?;
        // The runner ends by itself now; a panic in it has been reported already.
        (&mut self.runner).await.ok();
        Ok(())
    }

    async fn ask<T>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, LinkError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_err() {
            return Err(self.ended());
        }
        answer.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn ended(&self) -> LinkError {
        let (why, recoverable) =
            self.end.get().cloned().unwrap_or_else(|| ("it was given up".to_owned(), true));
        LinkError::Ended { peer: self.peer.clone(), why, recoverable }
    }
}

/// Cuts records into frames of about [`FRAME_TARGET`] bytes.
fn frames_of(records: Vec<Record>) -> Vec<Vec<Record>> {
    let (mut frames, mut frame, mut bytes) = (Vec::new(), Vec::new(), 0);
    for record in records {
        let len = record.wire_len() as u64;
        if !frame.is_empty() && (bytes + len > FRAME_TARGET || frame.len() == RECORDS_PER_FRAME_MAX) {
            frames.push(std::mem::take(&mut frame));
            bytes = 0;
        }
        bytes += len;
        frame.push(record);
    }
    if !frame.is_empty() {
        frames.push(frame);
    }
    frames
}

//! The task that owns a session: its machine, its connection, and the one command being
//! answered. Only one thing happens at a time here, so there are no locks.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use farshore_types::PointRef;
use farshore_wire::{
    CycleEnd, Encoded, Misuse, Notice, RawFrame, Record, Rejected, Resumption, Source, Welcome,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    SessionOptions,
    command::{Command, Pending, Reply},
};
use crate::{
    CycleOver, Dial, LinkError,
    limits::{FAREWELL_DEADLINE, OUT_QUEUE_MAX},
    pipe::{FrameReader, FrameWriter, PipeError},
};

/// A connection's two halves.
pub(super) type Pipe = (FrameReader, FrameWriter);

pub(super) struct Runner {
    pub(super) machine: Source,
    pub(super) dial: Arc<dyn Dial>,
    pub(super) options: SessionOptions,
    commands: mpsc::Receiver<Command>,
    pending: Option<Pending>,
    /// How the last cycle ended before anybody asked.
    over: Option<CycleOver>,
    nonce: u64,
    /// The last ping on its way: its number, and when it was sent.
    pinged: Option<(u64, Instant)>,
    /// The last round trip that was measured: what is sent takes that long at most, but for
    /// what is before it in the line.
    pub(super) round_trip: Duration,
    pub(super) heard: Instant,
    pub(super) welcome: watch::Sender<Arc<Welcome>>,
    end: Arc<OnceLock<(String, bool)>>,
}

/// Why a connection is no longer served.
enum Exit {
    /// The owner is done.
    Done,
    /// Worth a reconnect.
    Cut(String),
    /// Not worth one.
    Fatal(LinkError),
}

impl Runner {
    pub(super) fn new(
        machine: Source,
        dial: Arc<dyn Dial>,
        options: SessionOptions,
        commands: mpsc::Receiver<Command>,
        welcome: watch::Sender<Arc<Welcome>>,
        round_trip: Duration,
    ) -> Runner {
        let (pending, over, heard, end) = (None, None, Instant::now(), Arc::default());
        let (nonce, pinged) = (0, None);
        Runner {
            machine,
            dial,
            options,
            commands,
            pending,
            over,
            nonce,
            pinged,
            round_trip,
            heard,
            welcome,
            end,
        }
    }

    /// Where the reason of the session's end will stand.
    pub(super) fn end(&self) -> Arc<OnceLock<(String, bool)>> {
        Arc::clone(&self.end)
    }

    /// Serves the session until its owner is done or it cannot go on.
    pub(super) async fn run(mut self, mut pipe: Pipe) {
        loop {
            let exit = self.live(&mut pipe).await;
            self.machine.disconnect();
            // Closed before anything else: the target may be waiting for that.
            drop(pipe);
            let error = match exit {
                Exit::Done => return,
                Exit::Fatal(error) => error,
                Exit::Cut(why) => {
                    tracing::info!(peer = self.dial.peer(), why, "connection cut");
                    match self.heal(why).await {
                        Ok(healed) => {
                            pipe = healed;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
            };
            self.finish(error);
            return;
        }
    }

    /// Answers who waits, and leaves the reason for who comes later.
    fn finish(&mut self, error: LinkError) {
        tracing::warn!(peer = self.dial.peer(), %error, "session ended");
        self.end.set((error.to_string(), error.is_recoverable())).ok();
        if let Some(pending) = self.pending.take() {
            pending.refuse(error);
        }
    }

    /// Serves one connection.
    async fn live(&mut self, (reader, writer): &mut Pipe) -> Exit {
        let timing = self.options.timing;
        let mut tick = interval(timing.ping);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        loop {
            self.advance(writer);
            let free =
                self.pending.as_ref().is_none_or(Pending::is_abandoned) && writer.queued() < OUT_QUEUE_MAX;
            let step = tokio::select! {
                raw = reader.next() => self.take_frame(raw),
                wrote = writer.write_out(), if writer.is_dirty() => wrote.map_err(|e| cut(&e)),
                command = self.commands.recv(), if free => match command {
                    // The owner dropped the session: as if cut, so that it may be resumed.
                    None => Err(Exit::Done),
                    Some(Command::Bye(reply)) => Err(self.leave(writer, reply).await),
                    Some(command) => {
                        self.start(command, writer);
                        Ok(())
                    }
                },
                _ = tick.tick() => self.keep_alive(writer),
            };
            if let Err(exit) = step {
                return exit;
            }
        }
    }

    fn take_frame(&mut self, raw: Result<RawFrame, PipeError>) -> Result<(), Exit> {
        let raw = raw.map_err(|e| cut(&e))?;
        self.heard = Instant::now();
        let notice = self.machine.receive(raw).map_err(|rejected| match rejected {
            Rejected::Frame(error) => Exit::Cut(error.to_string()),
            Rejected::Violation(source) => {
                Exit::Fatal(LinkError::Violation { peer: self.dial.peer(), source })
            }
        })?;
        self.noticed(notice)
    }

    /// Acts on what the machine made of a frame.
    fn noticed(&mut self, notice: Notice) -> Result<(), Exit> {
        match notice {
            Notice::Ended(end) => self.cycle_ended(end),
            Notice::Pong { nonce } => self.ponged(nonce),
            Notice::Digests(page) => {
                if let Some(Pending::Digests(reply)) =
                    self.pending.take_if(|p| matches!(p, Pending::Digests(_)))
                {
                    reply.send(Ok(page)).ok();
                }
            }
            Notice::Refused(refusal) => {
                let error = LinkError::Refused { peer: self.dial.peer(), refusal };
                // A refusal that passes by itself (a restart of the target, say) is like a cut.
                let heals = error.is_recoverable();
                return Err(if heals { Exit::Cut(error.to_string()) } else { Exit::Fatal(error) });
            }
            // Credit is looked up where it is needed; a Welcome comes only in a greeting.
            Notice::Credit | Notice::Welcomed { .. } => {}
        }
        Ok(())
    }

    /// Acts on what became of the cycle over a reconnect.
    pub(super) fn resumed(&mut self, resumption: &Resumption, writer: &mut FrameWriter) {
        match resumption {
            Resumption::Nothing | Resumption::Resumed { reseal: false, .. } => {}
            Resumption::Resumed { reseal: true, .. } => self.reseal(writer),
            Resumption::Sealed(point) => self.cycle_ended(CycleEnd::Sealed(*point)),
            Resumption::Aborted { .. } => self.aborted(),
            Resumption::Lost { cycle } => self.cycle_over(CycleOver::Lost { cycle: *cycle }),
        }
    }

    fn reseal(&mut self, writer: &mut FrameWriter) {
        let captured = match &self.pending {
            Some(Pending::Seal { captured, .. }) => *captured,
            // Whoever asked for the seal is gone; its age no longer matters to anybody.
            _ => std::time::Instant::now(),
        };
        match self.machine.reseal(self.age_ms(captured)) {
            Ok(frame) => writer.push(frame),
            Err(misuse) => tracing::error!(%misuse, "a seal was due that cannot be sent"),
        }
    }

    fn cycle_ended(&mut self, end: CycleEnd) {
        match end {
            CycleEnd::Sealed(point) => self.sealed(point),
            CycleEnd::Failed { .. } if matches!(self.pending, Some(Pending::Abort(_))) => self.aborted(),
            // What a lost cycle is told by its late Abort is no news.
            CycleEnd::Failed { .. } if self.over.is_some() => {}
            CycleEnd::Failed { cycle, failure } => self.cycle_over(CycleOver::Failed { cycle, failure }),
        }
    }

    fn sealed(&mut self, point: PointRef) {
        if let Some(Pending::Seal { reply, .. }) = self.pending.take_if(|p| matches!(p, Pending::Seal { .. }))
        {
            reply.send(Ok(point)).ok();
        }
    }

    fn aborted(&mut self) {
        if let Some(Pending::Abort(reply)) = self.pending.take_if(|p| matches!(p, Pending::Abort(_))) {
            reply.send(Ok(())).ok();
        }
    }

    /// The cycle is over without being sealed: told to who waits, or to who asks next.
    fn cycle_over(&mut self, over: CycleOver) {
        let concerned = |p: &mut Pending| matches!(p, Pending::Send { .. } | Pending::Seal { .. });
        if let Some(pending) = self.pending.take_if(concerned) {
            pending.refuse(LinkError::Cycle(over.clone()));
        }
        self.over = Some(over);
    }

    fn ponged(&mut self, pong: u64) {
        if let Some((_, since)) = self.pinged.take_if(|(nonce, _)| *nonce == pong) {
            self.round_trip = since.elapsed();
        }
        let ours = |p: &mut Pending| matches!(p, Pending::Ping { nonce, .. } if *nonce == pong);
        if let Some(Pending::Ping { since, reply, .. }) = self.pending.take_if(ours) {
            reply.send(Ok(since.elapsed())).ok();
        }
    }

    /// Begins a command.
    fn start(&mut self, command: Command, writer: &mut FrameWriter) {
        match command {
            Command::Open(open, reply) => {
                self.over = None;
                self.pending = Some(Pending::Open(open, reply));
            }
            Command::Send { disk, records, reply } => {
                self.pending = Some(Pending::Send { disk, records, reply });
            }
            Command::Seal { outcome, captured, root, definition, reply } => match self.over.clone() {
                Some(over) => drop(reply.send(Err(LinkError::Cycle(over)))),
                None => {
                    let sent = self.machine.seal(outcome, self.age_ms(captured), root, definition);
                    self.await_answer(sent, writer, Pending::Seal { captured, reply });
                }
            },
            Command::Abort { reason, reply } => self.start_abort(&reason, reply, writer),
            Command::Digests(want, reply) => {
                let sent = self.machine.want_digests(want);
                self.await_answer(sent, writer, Pending::Digests(reply));
            }
            Command::Ping(reply) => {
                self.nonce += 1;
                let (nonce, since) = (self.nonce, Instant::now());
                self.pinged = Some((nonce, since));
                let sent = self.machine.ping(nonce);
                self.await_answer(sent, writer, Pending::Ping { nonce, since, reply });
            }
            // Handled where the connection is at hand.
            Command::Bye(_) => {}
        }
    }

    /// Queues the frame and waits for its answer; or tells why it cannot be sent.
    fn await_answer(&mut self, sent: Result<Encoded, Misuse>, writer: &mut FrameWriter, pending: Pending) {
        match sent {
            Ok(frame) => {
                writer.push(frame);
                self.pending = Some(pending);
            }
            Err(misuse) => pending.refuse(misuse.into()),
        }
    }

    fn start_abort(&mut self, reason: &str, reply: Reply<()>, writer: &mut FrameWriter) {
        if self.over.take().is_some() || self.machine.is_idle() {
            reply.send(Ok(())).ok();
            return;
        }
        match self.machine.abort(reason) {
            Ok(Some(frame)) => {
                writer.push(frame);
                self.pending = Some(Pending::Abort(reply));
            }
            Ok(None) => drop(reply.send(Ok(()))),
            Err(misuse) => drop(reply.send(Err(misuse.into()))),
        }
    }

    /// Goes on with what waits for the machine's state.
    fn advance(&mut self, writer: &mut FrameWriter) {
        if self.pending.as_ref().is_some_and(Pending::is_abandoned) {
            self.pending = None;
        }
        match self.pending.take() {
            Some(Pending::Open(open, reply)) if self.machine.is_idle() => {
                reply
                    .send(self.machine.open_cycle(open).map(|frame| writer.push(frame)).map_err(Into::into))
                    .ok();
            }
            Some(Pending::Send { disk, records, reply }) => self.try_send(disk, records, reply, writer),
            other => self.pending = other,
        }
    }

    fn try_send(&mut self, disk: u16, records: Vec<Record>, reply: Reply<()>, writer: &mut FrameWriter) {
        if let Some(over) = self.over.clone() {
            reply.send(Err(LinkError::Cycle(over))).ok();
            return;
        }
        let credit = self.machine.credit();
        match Source::check_size(&records) {
            Ok(needed) if needed > credit && self.machine.has_open_cycle() => {
                self.pending = Some(Pending::Send { disk, records, reply });
            }
            Ok(_) => {
                let sent = self.machine.data(disk, records);
                reply.send(sent.map(|frame| writer.push(frame)).map_err(Into::into)).ok();
            }
            Err(misuse) => drop(reply.send(Err(misuse.into()))),
        }
    }

    /// Pings a silent target; takes a long-silent one for dead.
    fn keep_alive(&mut self, writer: &mut FrameWriter) -> Result<(), Exit> {
        let timing = self.options.timing;
        let silence = self.heard.elapsed();
        if silence > timing.idle {
            return Err(Exit::Cut(format!("nothing heard for {} s", silence.as_secs())));
        }
        if silence >= timing.ping {
            self.nonce += 1;
            if let Ok(frame) = self.machine.ping(self.nonce) {
                self.pinged = Some((self.nonce, Instant::now()));
                writer.push(frame);
            }
        }
        Ok(())
    }

    /// How old an instant is when a frame that is sent now arrives: never less than the truth,
    /// so a part of a millisecond is a whole one.
    fn age_ms(&self, captured: std::time::Instant) -> u64 {
        let age = captured.elapsed().saturating_add(self.round_trip);
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    async fn leave(&mut self, writer: &mut FrameWriter, reply: Reply<()>) -> Exit {
        if let Ok(frame) = self.machine.bye() {
            writer.push(frame);
            // A goodbye that cannot be said is no loss: the target notices the end.
            timeout(FAREWELL_DEADLINE, writer.finish()).await.ok();
        }
        reply.send(Ok(())).ok();
        Exit::Done
    }
}

fn cut(error: &PipeError) -> Exit {
    Exit::Cut(error.to_string())
}

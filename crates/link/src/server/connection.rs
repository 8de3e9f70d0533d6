//! One connection at the target: greeting, then frames to work and reports to answers.

use bytes::Bytes;
use farshore_wire::{
    Acceptance, DiskSize, Effect, Encoded, FrameError, Hello, Letter, RawFrame, Refusal, RefusalCode,
    Rejected, Target, Violation,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Server,
    registry::Taken,
    worker::{Report, Work, Worker},
};
use crate::{
    Caller, Receiver, Stream, Welcomed,
    limits::{FAREWELL_DEADLINE, TAKEOVER_DEADLINE, WORK_QUEUE_MAX},
    pipe::{FrameReader, FrameWriter, PipeError, frames_over},
};

/// Most pieces of work that one frame makes.
const WORK_PER_FRAME_MAX: usize = 2;

/// Serves a connection to its end; logs why it ended.
pub(super) async fn run(server: &Server, stream: Box<dyn Stream>, peer: Caller) {
    let (reader, writer) = frames_over(stream);
    let mut connection = Connection {
        server,
        peer,
        reader,
        writer,
        machine: Target::speaking(server.limits.versions),
        heard: Instant::now(),
    };
    let greeting = timeout(server.limits.timing.handshake, connection.greeting());
    let greeted = match server.shutdown.run_until_cancelled(greeting).await {
        Some(Ok(greeted)) => greeted,
        Some(Err(_)) => Err(End::Lost("no Hello within its deadline".to_owned())),
        None => Err(End::Refuse(stopping())),
    };
    let admitted = match greeted {
        Ok(hello) => connection.admit(&hello).await,
        Err(end) => Err(end),
    };
    match admitted {
        Ok(session) => connection.serve(session).await,
        Err(end) => connection.farewell(end).await,
    }
}

struct Connection<'a> {
    server: &'a Server,
    peer: Caller,
    reader: FrameReader,
    writer: FrameWriter,
    machine: Target,
    heard: Instant,
}

/// An admitted session.
struct Session {
    receiver: Box<dyn Receiver>,
    /// Disks of a held cycle that goes on.
    disks: Vec<DiskSize>,
    /// Work that admitting made.
    first: Option<Work>,
    seat: Taken,
}

/// Why a connection ends.
enum End {
    /// The peer said goodbye.
    Bye,
    /// It wrote a letter, and was answered; the answer is queued.
    Answered,
    /// The connection is gone or no good.
    Lost(String),
    /// The peer is told.
    Refuse(Refusal),
    /// As above; the Refuse is queued already.
    Refused,
}

fn stopping() -> Refusal {
    Refusal::new(
        RefusalCode::Superseded,
        "the target agent is stopping",
        "the session resumes when it is back",
    )
}

impl Connection<'_> {
    async fn greeting(&mut self) -> Result<Hello, End> {
        let raw = self.reader.next().await.map_err(|e| lost(&e))?;
        if Letter::is_one(&raw) {
            return Err(self.read_letter(raw).await);
        }
        let effects = self.machine.receive(raw).map_err(refused)?;
        for effect in effects {
            match effect {
                Effect::Judge(hello) => return Ok(hello),
                Effect::Send(refuse) => self.writer.push(refuse),
                _ => {}
            }
        }
        Err(End::Refused)
    }

    /// A letter is no session: the answer ends the connection.
    async fn read_letter(&mut self, raw: RawFrame) -> End {
        let damaged = |error: FrameError| End::Lost(error.to_string());
        let letter = match Letter::decode(raw) {
            Ok(letter) => Bytes::copy_from_slice(letter.text()),
            Err(error) => return damaged(error),
        };
        let answer = match self.server.sink.letter(&self.peer, letter).await {
            Ok(answer) => Letter::new(answer),
            Err(refusal) => return End::Refuse(refusal),
        };
        match answer {
            Ok(answer) => {
                self.writer.push(answer.encode_answer());
                End::Answered
            }
            Err(error) => damaged(error),
        }
    }

    /// Asks the owner, and makes room: an older session of the machine ends first.
    async fn admit(&mut self, hello: &Hello) -> Result<Session, End> {
        let sink = &self.server.sink;
        sink.authorise(&self.peer, hello).await.map_err(End::Refuse)?;
        let seat =
            timeout(TAKEOVER_DEADLINE, self.server.registry.take(hello.machine)).await.map_err(|_| {
                let message = "an older session of this machine is still storing what it received";
                End::Refuse(Refusal::new(RefusalCode::Busy, message, "it is tried again by itself"))
            })?;
        let Welcomed { acceptance, mut receiver } =
            sink.hello(&self.peer, hello).await.map_err(End::Refuse)?;
        let held_disks = held_disks(&acceptance, hello);
        let mut first = None;
        for effect in self.machine.accept(acceptance) {
            match effect {
                Effect::Send(frame) => self.writer.push(frame),
                Effect::Drop { cycle, failure } => first = Some(Work::Drop(cycle, failure)),
                _ => {}
            }
        }
        if !self.machine.is_live() {
            receiver.lost(None).await;
            return Err(End::Refused);
        }
        let (peer, name) = (&self.peer, &hello.machine_name);
        tracing::info!(%peer, machine = name, agent = hello.agent, epoch = hello.epoch.number, "session open");
        Ok(Session { receiver, disks: held_disks, first, seat })
    }

    /// Runs the session; the receiver has been told of its end when this returns.
    async fn serve(&mut self, session: Session) {
        let Session { mut receiver, disks, first, seat } = session;
        if let Some(Work::Drop(cycle, why)) = first {
            receiver.abort(cycle, &why).await;
        }
        let (queue, work) = mpsc::channel(WORK_QUEUE_MAX);
        let (report, mut reports) = mpsc::unbounded_channel();
        let worker = AbortOnDropHandle::new(tokio::spawn(Worker::new(receiver, disks, report).run(work)));
        let end = self.pump(&queue, &mut reports, &seat).await;
        self.farewell(end).await;
        self.machine.disconnect();
        // The work that arrived is finished: it need not be sent again.
        drop(queue);
        let receiver = worker.await;
        while let Ok(report) = reports.try_recv() {
            self.reported(report).ok();
        }
        let held = std::mem::take(&mut self.machine).into_held();
        match receiver {
            Ok(mut receiver) => receiver.lost(held).await,
            Err(error) => tracing::error!(%error, "the work of a session panicked"),
        }
    }

    async fn pump(
        &mut self,
        queue: &mpsc::Sender<Work>,
        reports: &mut mpsc::UnboundedReceiver<Report>,
        seat: &Taken,
    ) -> End {
        let mut tick = interval(self.server.limits.timing.ping);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Reading stops while the worker is too far behind; its reports wake us.
            let room = queue.capacity() >= WORK_PER_FRAME_MAX;
            let step = tokio::select! {
                raw = self.reader.next(), if room => match raw {
                    Ok(raw) => self.received(raw, queue),
                    Err(error) => Err(lost(&error)),
                },
                Some(report) = reports.recv() => self.reported(report),
                wrote = self.writer.write_out(), if self.writer.is_dirty() => wrote.map_err(|e| lost(&e)),
                _ = tick.tick() => self.check_silence(room),
                () = seat.leave.cancelled() => Err(End::Refuse(superseded())),
                () = self.server.shutdown.cancelled() => Err(End::Refuse(stopping())),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    fn received(&mut self, raw: farshore_wire::RawFrame, queue: &mpsc::Sender<Work>) -> Result<(), End> {
        self.heard = Instant::now();
        for effect in self.machine.receive(raw).map_err(refused)? {
            let work = match effect {
                Effect::Send(frame) => {
                    self.writer.push(frame);
                    continue;
                }
                Effect::Open(ticket, open) => Work::Open(ticket, open),
                Effect::Append(ticket, data) => Work::Append(ticket, data),
                Effect::Seal(ticket, seal) => Work::Seal(ticket, seal),
                Effect::Drop { cycle, failure } => Work::Drop(cycle, failure),
                Effect::Digests(want) => Work::Digests(want),
                Effect::End => return Err(End::Bye),
                Effect::Judge(_) => continue,
            };
            // Full only if the room was miscounted; closed only if the worker panicked.
            queue.try_send(work).map_err(|e| End::Lost(format!("the session's work cannot go on: {e}")))?;
        }
        Ok(())
    }

    fn reported(&mut self, report: Report) -> Result<(), End> {
        let answer = match report {
            Report::Appended(ticket) => self.machine.appended(ticket).map_err(|v| broken(&v))?,
            Report::Sealed(ticket, point) => self.machine.sealed(ticket, point).map_err(|v| broken(&v))?,
            Report::Failed(ticket, failure) => self.machine.failed(ticket, failure),
            Report::Digests(Ok(page)) => self.machine.digests(page),
            Report::Digests(Err(failure)) => {
                return Err(End::Refuse(Refusal::new(RefusalCode::Other, failure.message, failure.advice)));
            }
        };
        answer.into_iter().for_each(|frame: Encoded| self.writer.push(frame));
        Ok(())
    }

    /// The source pings when it has nothing else to say, so silence means that it is gone;
    /// unless it is us who do not read.
    fn check_silence(&mut self, reading: bool) -> Result<(), End> {
        if !reading {
            self.heard = Instant::now();
        }
        let silence = self.heard.elapsed();
        if silence > self.server.limits.timing.idle {
            return Err(End::Lost(format!("nothing heard for {} s", silence.as_secs())));
        }
        Ok(())
    }

    /// Says why, where there is somebody to say it to, and closes.
    async fn farewell(&mut self, end: End) {
        let peer = &self.peer;
        match end {
            End::Bye => tracing::info!(%peer, "session ended"),
            End::Answered => tracing::debug!(%peer, "a letter was answered"),
            End::Lost(why) => {
                tracing::info!(%peer, why, "connection lost");
                return;
            }
            End::Refuse(refusal) => {
                tracing::warn!(%peer, %refusal, "session refused");
                self.writer.push(self.machine.refuse(&refusal));
            }
            End::Refused => tracing::warn!(%peer, "session refused"),
        }
        // Closing with unread input would reset the connection, and our words with it. Who
        // does not listen any more needs none.
        timeout(FAREWELL_DEADLINE, async {
            if self.writer.finish().await.is_ok() {
                while self.reader.next().await.is_ok() {}
            }
        })
        .await
        .ok();
    }
}

fn held_disks(acceptance: &Acceptance, hello: &Hello) -> Vec<DiskSize> {
    let held = acceptance.held.as_ref().filter(|held| hello.resume == Some(held.session));
    held.map(|held| held.open.disks.clone()).unwrap_or_default()
}

fn superseded() -> Refusal {
    Refusal::new(
        RefusalCode::Superseded,
        "a newer session of this machine took over",
        "nothing is to be done",
    )
}

fn lost(error: &PipeError) -> End {
    End::Lost(error.to_string())
}

fn refused(rejected: Rejected) -> End {
    match rejected {
        Rejected::Frame(error) => End::Lost(error.to_string()),
        Rejected::Violation(violation) => End::Refuse(Refusal::from(&violation)),
    }
}

/// A report that does not fit is a fault of the owner's; the session must not go on.
fn broken(violation: &Violation) -> End {
    tracing::error!(%violation, "the replica's report does not fit the session");
    End::Refuse(Refusal::new(RefusalCode::Other, violation.to_string(), "report this as a fault"))
}

//! Connections that end at every frame's boundary, inside its header and inside its
//! payload, in both directions, by a close, a reset or a stall, in initial, delta and resync
//! cycles; behind them the real store. Time is the test's, so that pauses cost nothing.

use std::{
    fs, io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use async_trait::async_trait;
use farshore_agent::{
    ReplicaSink,
    control::{Export, Format, PointChoice, Reply, Request},
};
use farshore_link::{
    Caller, Dial, Greeting, LinkError, Server, ServerLimits, Session, SessionOptions, Stream,
};
use farshore_wire::{
    CycleKind, HEADER_LEN, Header,
    bug::{Bug, plant},
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio_util::sync::CancellationToken;

use crate::world::{MACHINE, NAME, Source, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToTarget,
    ToSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Close,
    Reset,
    Stall,
}

/// Where a connection ends: so many bytes into the frame with this number.
#[derive(Clone, Copy, Debug)]
struct Cut {
    way: Way,
    frame: usize,
    offset: usize,
    kind: Kind,
}

/// Follows the frames of one direction.
#[derive(Clone, Default)]
struct Meter {
    frames: usize,
    header: Vec<u8>,
    /// Bytes of the frame so far, and in all once its header is known.
    at: usize,
    len: Option<usize>,
}

impl Meter {
    /// How many of these bytes pass before the cut, and whether it is reached.
    fn pass(&mut self, data: &[u8], cut: Option<Cut>) -> (usize, bool) {
        for (n, byte) in data.iter().enumerate() {
            if cut.is_some_and(|cut| (cut.frame, cut.offset) == (self.frames, self.at)) {
                return (n, true);
            }
            self.at += 1;
            if self.header.len() < HEADER_LEN {
                self.header.push(*byte);
            }
            if self.at == HEADER_LEN {
                let header = Header::decode(self.header.as_slice().try_into().unwrap()).unwrap();
                self.len = Some(HEADER_LEN + header.payload_len as usize);
            }
            if self.len == Some(self.at) {
                *self = Meter { frames: self.frames + 1, ..Meter::default() };
            }
        }
        (data.len(), false)
    }
}

/// Frames that went each way over all connections.
type Passed = Arc<Mutex<(usize, usize)>>;

/// Connects to a server in memory; the first connection is cut as planned.
struct Line {
    server: Server,
    cut: Mutex<Option<Cut>>,
    passed: Passed,
}

#[async_trait]
impl Dial for Line {
    async fn dial(&self) -> Result<Box<dyn Stream>, LinkError> {
        let (near, far) = duplex(1 << 16);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve_stream(Box::new(far), Caller::by_certificate("line")).await });
        let cut = self.cut.lock().unwrap().take();
        let (forth, back, passed) = (Meter::default(), Meter::default(), self.passed.clone());
        Ok(Box::new(Wire { inner: Some(near), cut, forth, back, passed, over: false }))
    }

    fn peer(&self) -> String {
        "the line in memory".to_owned()
    }
}

struct Wire {
    /// None once it was closed or reset.
    inner: Option<DuplexStream>,
    cut: Option<Cut>,
    forth: Meter,
    back: Meter,
    passed: Passed,
    over: bool,
}

impl Wire {
    fn cut_of(&self, way: Way) -> Option<Cut> {
        self.cut.filter(|cut| cut.way == way)
    }

    /// Ends the connection in the planned way.
    fn end(&mut self) {
        self.over = true;
        if self.cut.is_some_and(|cut| cut.kind != Kind::Stall) {
            self.inner = None;
        }
    }

    fn is_reset(&self) -> bool {
        self.cut.is_some_and(|cut| cut.kind == Kind::Reset)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = vec![0; buf.remaining().min(4096)];
        let mut read = ReadBuf::new(&mut chunk);
        if !self.over {
            let inner = self.inner.as_mut().expect("it is open");
            match Pin::new(inner).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                other => return other,
            }
            let cut = self.cut_of(Way::ToSource);
            let (passed, reached) = self.back.pass(read.filled(), cut);
            self.passed.lock().unwrap().1 = self.back.frames;
            buf.put_slice(&read.filled()[..passed]);
            if reached {
                self.end();
            }
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
        match self.inner {
            Some(_) => Poll::Pending,
            None if self.is_reset() => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.over {
            return match self.inner {
                Some(_) => Poll::Pending,
                None => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        }
        // Only what the pipe takes counts.
        let (allowed, reached) = self.forth.clone().pass(data, self.cut_of(Way::ToTarget));
        if reached && allowed == 0 {
            self.end();
            return self.poll_write(cx, data);
        }
        let inner = self.inner.as_mut().expect("it is open");
        let taken = match Pin::new(inner).poll_write(cx, &data[..allowed]) {
            Poll::Ready(Ok(taken)) => taken,
            other => return other,
        };
        self.forth.pass(&data[..taken], None);
        self.passed.lock().unwrap().0 = self.forth.frames;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// An initial, a delta and a resync cycle through the cut: every point is what its source
/// held. Gives the frames that went each way.
async fn story(cut: Option<Cut>) -> Result<(usize, usize), String> {
    let world = World::new().await;
    let sink = Arc::new(ReplicaSink::new(world.agent.replicas().clone(), Vec::new()));
    let server = Server::new(sink, ServerLimits::default(), CancellationToken::new());
    let passed = Passed::default();
    let line = Arc::new(Line { server, cut: Mutex::new(cut), passed: passed.clone() });
    let mut source = Source::new();
    let greeting = || Greeting {
        machine: MACHINE,
        machine_name: NAME.to_owned(),
        epoch: source.epoch,
        agent: "test".to_owned(),
    };
    let mut session = loop {
        match Session::over(line.clone(), greeting(), SessionOptions::default()).await {
            Ok(session) => break session,
            Err(error) if error.is_recoverable() => {}
            Err(error) => return Err(error.to_string()),
        }
    };
    let mut points = Vec::new();
    for kind in [CycleKind::Initial, CycleKind::Delta, CycleKind::Resync] {
        source.kind = Some(kind);
        let point = source.cycle(&mut session).await.map_err(|e| format!("{kind:?}: {e}"))?;
        points.push((point.id, source.disks.clone()));
    }
    session.bye().await.map_err(|e| e.to_string())?;
    for (id, disks) in points {
        let out = tempfile::tempdir().unwrap();
        let (point, to) = (PointChoice::At(id), out.path().to_owned());
        let export =
            Export { machine: NAME.to_owned(), point, disk: None, to, format: Format::Raw, force: false };
        let Ok(Reply::Exported(exported)) = world.ask(Request::Export(export)).await else {
            return Err(format!("point {id} cannot be exported"));
        };
        if exported.disks.iter().any(|file| fs::read(&file.path).unwrap() != disks[&file.disk]) {
            return Err(format!("point {id} differs"));
        }
    }
    let passed = *passed.lock().unwrap();
    Ok(passed)
}

/// Boundaries, insides of headers, and inside a payload.
const OFFSETS: [usize; 5] = [0, 1, 17, HEADER_LEN - 1, HEADER_LEN + 8];

#[tokio::test(start_paused = true)]
async fn a_connection_may_end_anywhere_and_the_store_holds_what_was_sent() {
    let (to_target, to_source) = story(None).await.unwrap();
    assert!(to_target >= 14 && to_source >= 7, "{to_target} {to_source}");
    for (way, frames) in [(Way::ToTarget, to_target), (Way::ToSource, to_source)] {
        for frame in 0..frames {
            for offset in OFFSETS {
                for kind in [Kind::Close, Kind::Reset, Kind::Stall] {
                    let cut = Cut { way, frame, offset, kind };
                    story(Some(cut)).await.unwrap_or_else(|why| panic!("{cut:?}: {why}"));
                }
            }
        }
    }
}

/// The test is tested: a source that does not send again what was under way is caught.
#[tokio::test(start_paused = true)]
async fn frames_not_sent_again_are_caught_behind_the_store() {
    let (to_target, _) = story(None).await.unwrap();
    let _planted = plant(Bug::ForgetResend);
    let mut caught = 0;
    for frame in 1..to_target {
        let cut = Cut { way: Way::ToTarget, frame, offset: 17, kind: Kind::Close };
        caught += u32::from(story(Some(cut)).await.is_err());
    }
    assert!(caught > 0);
}

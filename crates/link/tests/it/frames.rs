//! A line in memory that is cut at every frame boundary, inside every header and inside
//! payloads, in both directions; time is the test's, so that pauses cost nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use farshore_link::{Caller, Dial, LinkError, Server, ServerLimits, Session, SessionOptions, Stream, Timing};
use farshore_wire::{CycleKind, HEADER_LEN, limits::WINDOW_MIN};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio_util::sync::CancellationToken;

use crate::{
    memory::Memory,
    world::{EPOCH, MACHINE, Model, greeting},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToTarget,
    ToSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Close,
    Stall,
}

/// Where a connection is cut: so many bytes into the frame with this number.
#[derive(Clone, Copy, Debug)]
struct Cut {
    way: Way,
    frame: usize,
    offset: usize,
    kind: Kind,
}

/// Connects to a server in memory; the first connections are cut as planned.
struct Line {
    server: Server,
    cuts: Mutex<Vec<Cut>>,
    /// Frames that passed, by way.
    passed: Arc<Mutex<(usize, usize)>>,
}

#[async_trait]
impl Dial for Line {
    async fn dial(&self) -> Result<Box<dyn Stream>, LinkError> {
        let ((client, near), (far, target)) = (duplex(1 << 16), duplex(1 << 16));
        let cut = self.cuts.lock().unwrap().pop();
        let (server, passed) = (self.server.clone(), Arc::clone(&self.passed));
        tokio::spawn(async move {
            server.serve_stream(Box::new(target), Caller::by_certificate("line.example")).await;
        });
        tokio::spawn(relay(near, far, cut, passed));
        Ok(Box::new(client))
    }

    fn peer(&self) -> String {
        "the line in memory".to_owned()
    }
}

/// Passes frames both ways until one side closes or the cut is reached.
async fn relay(near: DuplexStream, far: DuplexStream, cut: Option<Cut>, passed: Arc<Mutex<(usize, usize)>>) {
    let ((near_in, near_out), (far_in, far_out)) = (tokio::io::split(near), tokio::io::split(far));
    let of = |way| cut.filter(|cut| cut.way == way);
    let kind = cut.map_or(Kind::Close, |cut| cut.kind);
    tokio::select! {
        reached = pass(near_in, far_out, of(Way::ToTarget), |p| p.0 += 1, &passed) => hold(reached, kind).await,
        reached = pass(far_in, near_out, of(Way::ToSource), |p| p.1 += 1, &passed) => hold(reached, kind).await,
    }
}

/// After a stall nothing moves, and nothing is closed, for longer than any deadline.
async fn hold(reached: bool, kind: Kind) {
    if reached && kind == Kind::Stall {
        tokio::time::sleep(Duration::from_secs(600)).await;
    }
}

/// Passes frames one way; whether the cut was reached.
async fn pass(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    cut: Option<Cut>,
    count: impl Fn(&mut (usize, usize)),
    passed: &Mutex<(usize, usize)>,
) -> bool {
    for number in 0.. {
        let mut frame = vec![0; HEADER_LEN];
        if from.read_exact(&mut frame).await.is_err() {
            return false;
        }
        let payload = u32::from_le_bytes(frame[8..12].try_into().unwrap()) as usize;
        frame.resize(HEADER_LEN + payload, 0);
        if from.read_exact(&mut frame[HEADER_LEN..]).await.is_err() {
            return false;
        }
        if let Some(cut) = cut.filter(|cut| cut.frame == number) {
            to.write_all(&frame[..cut.offset.min(frame.len() - 1)]).await.ok();
            return true;
        }
        if to.write_all(&frame).await.is_err() {
            return false;
        }
        count(&mut passed.lock().unwrap());
    }
    false
}

/// Initial, delta and resync cycles over a line with these cuts; frames passed each way.
async fn story(cuts: Vec<Cut>) -> (usize, usize) {
    let told = format!("{cuts:?}");
    let (memory, cut_count) = (Memory::default(), cuts.len() as u64);
    let server = Server::new(Arc::new(memory.clone()), ServerLimits::default(), CancellationToken::new());
    let passed = Arc::default();
    let line = Arc::new(Line { server, cuts: Mutex::new(cuts), passed: Arc::clone(&passed) });
    let options = SessionOptions {
        timing: Timing::default(),
        heal_for: Duration::from_secs(300),
        ..SessionOptions::default()
    };
    // The first connection is the owner's to repeat.
    let mut session = loop {
        match Session::over(line.clone(), greeting(EPOCH), options.clone()).await {
            Ok(session) => break session,
            Err(error) => assert!(error.is_recoverable(), "{told}: {error}"),
        }
    };
    let (mut model, mut bytes) = (Model::default(), 0);
    for kind in [CycleKind::Initial, CycleKind::Delta, CycleKind::Resync] {
        session.open_cycle(model.open(kind)).await.unwrap();
        for disk in [0, 1, 0] {
            let records = model.records(disk, 3);
            bytes += records.iter().map(|r| r.wire_len() as u64).sum::<u64>();
            session.send(disk, records).await.unwrap_or_else(|e| panic!("{told}: {e}"));
        }
        model.last = Some(model.seal(&mut session).await.unwrap_or_else(|e| panic!("{told}: {e}")));
    }
    memory.with(MACHINE, |replica| {
        assert_eq!(replica.content, model.content, "{told}");
        assert_eq!(replica.sealed.len(), 3, "{told}: each cycle is sealed once");
    });
    let appended = memory.knobs(|knobs| knobs.appended_bytes);
    assert!(appended <= bytes + cut_count * u64::from(WINDOW_MIN), "{told}: {appended} of {bytes}");
    session.bye().await.unwrap();
    *passed.lock().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_any_frame_and_inside_any_header_is_healed() {
    let (to_target, to_source) = story(Vec::new()).await;
    assert!(to_target >= 16 && to_source >= 7, "{to_target} {to_source}");
    let mut runs = 0;
    for (way, frames) in [(Way::ToTarget, to_target), (Way::ToSource, to_source)] {
        for frame in 0..frames {
            for offset in (0..=HEADER_LEN).step_by(4).chain([31, 40, 1000]) {
                let kind = if (frame + offset) % 3 == 0 { Kind::Stall } else { Kind::Close };
                story(vec![Cut { way, frame, offset, kind }]).await;
                runs += 1;
            }
        }
    }
    assert!(runs > 250, "{runs}");
}

#[tokio::test(start_paused = true)]
async fn cuts_upon_cuts_are_healed() {
    for first in 0..12 {
        for second in 0..6 {
            let cut = |way, frame, offset, kind| Cut { way, frame, offset, kind };
            story(vec![
                cut(Way::ToTarget, second, 7, Kind::Close),
                cut(Way::ToSource, 0, second * 5, Kind::Close),
                cut(Way::ToTarget, 1, 33, Kind::Stall),
                cut(Way::ToTarget, first, 0, Kind::Close),
            ])
            .await;
        }
    }
}

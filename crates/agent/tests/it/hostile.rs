//! A peer that is damaged or lies, with the real store behind the session: each of its
//! frames is refused with a reason, and no point, and no later cycle, is harmed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use farshore_agent::{
    ReplicaSink,
    control::{PointChoice, Reply, Request},
};
use farshore_link::{Caller, Server, ServerLimits};
use farshore_types::{CLUSTER_SIZE, Consistency, Digest, Epoch, PointRef, RootDigest};
use farshore_wire::{
    Body, CycleKind, DiskSize, Encoded, Hello, Inbox, Notice, OpenCycle, Outcome, Record, Source as Machine,
    SourceFrame, TargetFrame, Versions, WantDigests,
    bug::{Bug, plant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::world::{MACHINE, NAME, SIZE, World, key};

/// Longest wait for the target to hang up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where it is not expected to.
const SHORT: Duration = Duration::from_secs(2);

/// A connection to the target, and the source's machine that makes right frames for it.
struct Line {
    stream: DuplexStream,
    inbox: Inbox,
    machine: Machine,
}

/// What a session has said before the frame that is damaged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    Welcome,
    Open,
    Data,
}

struct Attack<'a> {
    world: &'a World,
    server: Server,
    epoch: Epoch,
    last: PointRef,
    patience: Duration,
}

impl Attack<'_> {
    fn new(world: &World, epoch: Epoch, last: PointRef) -> Attack<'_> {
        let sink = Arc::new(ReplicaSink::new(world.agent.replicas().clone(), Vec::new()));
        let server = Server::new(sink, ServerLimits::default(), CancellationToken::new());
        Attack { world, server, epoch, last, patience: PATIENCE }
    }

    fn hello(&self) -> Hello {
        Hello {
            versions: Versions::OURS,
            machine: MACHINE,
            machine_name: NAME.to_owned(),
            epoch: self.epoch,
            agent: "test".to_owned(),
            resume: None,
        }
    }

    fn connect(&self) -> Line {
        let (stream, far) = tokio::io::duplex(1 << 20);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve_stream(Box::new(far), Caller::by_certificate("liar")).await });
        Line { stream, inbox: Inbox::default(), machine: Machine::new(self.hello()) }
    }

    /// A connection that has said so much.
    async fn line(&self, after: After) -> Line {
        let mut line = self.connect();
        if after == After::Nothing {
            return line;
        }
        let hello = line.machine.connect();
        line.say(&hello.to_bytes()).await;
        let raw = line.hear().await.expect("a welcome");
        let welcomed = line.machine.receive(raw).unwrap();
        assert!(matches!(welcomed, Notice::Welcomed { .. }), "{welcomed:?}");
        if after == After::Welcome {
            return line;
        }
        let open = line.open(self.last).to_bytes();
        line.say(&open).await;
        if after == After::Data {
            let data = line.data().to_bytes();
            line.say(&data).await;
        }
        line
    }

    /// Says these bytes; why the target hangs up on them. (Where a frame cannot even be
    /// read there is nothing to answer to: the reason is in the target's log.)
    async fn refusal(&self, mut line: Line, bytes: &[u8]) -> Result<String, String> {
        line.say(bytes).await;
        let mut why = "it hung up".to_owned();
        loop {
            let heard = timeout(self.patience, line.hear()).await;
            match heard.map_err(|_| "it was not refused".to_owned())?.map(TargetFrame::decode) {
                None => return Ok(why),
                Some(Ok(TargetFrame::Refuse(refusal))) => why = refusal.to_string(),
                Some(Ok(TargetFrame::Credit(_))) => {}
                Some(other) => return Err(format!("it was answered with {other:?}")),
            }
        }
    }

    /// Every point is whole, and the source that is what it says goes on.
    async fn nothing_is_harmed(&self) {
        let Ok(Reply::Points(listed)) = self.world.ask(Request::Points { machine: None }).await else {
            panic!()
        };
        assert_eq!(listed[0].points.iter().map(|p| p.id).next_back(), Some(self.last.id));
        for point in &listed[0].points {
            let verify = Request::Verify { machine: NAME.to_owned(), point: PointChoice::At(point.id) };
            assert!(matches!(self.world.ask(verify).await, Ok(Reply::Verified(_))), "{}", point.id);
        }
    }
}

impl Line {
    async fn say(&mut self, bytes: &[u8]) {
        // Whom the target has hung up on cannot say more.
        let _ = self.stream.write_all(bytes).await;
    }

    async fn hear(&mut self) -> Option<farshore_wire::RawFrame> {
        loop {
            if let Some(raw) = self.inbox.next_frame().unwrap() {
                return Some(raw);
            }
            if !self.stream.read_buf(&mut self.inbox.buffer).await.is_ok_and(|n| n > 0) {
                return None;
            }
        }
    }

    fn open(&mut self, base: PointRef) -> Encoded {
        let disk = |name| DiskSize { key: key(name), size: SIZE as u64 };
        let (disks, cycle) = (vec![disk("vda"), disk("vdb")], base.id.number + 1);
        self.machine.open_cycle(OpenCycle { cycle, kind: CycleKind::Delta, base: Some(base), disks }).unwrap()
    }

    fn data(&mut self) -> Encoded {
        let plain = vec![7; CLUSTER_SIZE];
        let body = Body::Zstd(zstd::bulk::compress(&plain, 1).unwrap().into());
        let zero = Record { cluster: 4, digest: Digest::ZERO, body: Body::Zero };
        self.machine.data(0, vec![Record { cluster: 3, digest: Digest::of(&plain), body }, zero]).unwrap()
    }

    fn seal(&mut self) -> Encoded {
        let outcome = Outcome::Point(Consistency::Crash);
        self.machine.seal(outcome, 1, RootDigest([1; 32]), Bytes::from_static(b"<domain/>")).unwrap()
    }
}

/// Makes the next right frame of one type.
type Make = fn(&mut Line, PointRef) -> Encoded;

/// Every type of frame, and what comes before it.
const FRAMES: [(After, Make); 8] = [
    (After::Nothing, |line, _| line.machine.connect()),
    (After::Welcome, |line, last| line.open(last)),
    (After::Open, |line, _| line.data()),
    (After::Data, |line, _| line.seal()),
    (After::Data, |line, _| line.machine.abort("because").unwrap().unwrap()),
    (After::Welcome, |line, _| line.machine.ping(7).unwrap()),
    (After::Welcome, |line, _| line.machine.want_digests(WantDigests { disk: key("vda"), from: 0 }).unwrap()),
    (After::Welcome, |line, _| line.machine.bye().unwrap()),
];

/// Flips bits of one type of frame: every `step`-th.
async fn flip(attack: &Attack<'_>, (after, make): (After, Make), step: usize) -> Result<usize, String> {
    let (mut bit, mut flipped) = (0, 0);
    loop {
        let mut line = attack.line(after).await;
        let mut bytes = make(&mut line, attack.last).to_bytes().to_vec();
        if bit >= bytes.len() * 8 {
            return Ok(flipped);
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
        let why = attack.refusal(line, &bytes).await.map_err(|why| format!("bit {bit}: {why}"))?;
        assert!(!why.is_empty());
        bit += step;
        flipped += 1;
    }
}

#[tokio::test]
async fn every_flipped_bit_of_every_frame_is_refused_and_the_store_is_unharmed() {
    let world = World::new().await;
    let (mut source, points) = world.with_points(2).await;
    let attack = Attack::new(&world, source.epoch, source.last().unwrap());
    let mut flipped = 0;
    for frame in FRAMES {
        flipped += flip(&attack, frame, 1).await.unwrap();
    }
    assert!(flipped > 3000, "{flipped}");
    assert_eq!(points.len(), 2);
    attack.nothing_is_harmed().await;
    let mut session = world.connect(source.epoch).await.unwrap();
    source.cycle(&mut session).await.expect("an honest source goes on");
}

/// The test is tested: where checksums are not compared, it fails.
#[tokio::test]
async fn checksums_that_are_not_compared_are_caught_behind_the_store() {
    let world = World::new().await;
    let (source, _) = world.with_points(1).await;
    let attack = Attack { patience: SHORT, ..Attack::new(&world, source.epoch, source.last().unwrap()) };
    let _planted = plant(Bug::SkipCrc);
    for frame in FRAMES {
        if let Err(caught) = flip(&attack, frame, 7).await {
            println!("caught: {caught}");
            return;
        }
    }
    panic!("not caught");
}

/// Frames that are whole, each in the wrong place.
#[tokio::test]
async fn frames_cut_off_repeated_replayed_and_out_of_order_are_refused_and_the_store_is_unharmed() {
    let world = World::new().await;
    let (mut source, _) = world.with_points(2).await;
    let last = source.last().unwrap();
    let attack = Attack::new(&world, source.epoch, last);
    for (after, make) in FRAMES {
        // Cut off anywhere.
        for part in 1..8 {
            let mut line = attack.line(after).await;
            let bytes = make(&mut line, last).to_bytes();
            line.say(&bytes[..bytes.len() * part / 8]).await;
            line.stream.shutdown().await.unwrap();
            attack.refusal(line, &[]).await.unwrap();
        }
        // Said twice.
        let mut line = attack.line(after).await;
        let frame = make(&mut line, last).to_bytes();
        if make_is_bye(&frame) {
            continue;
        }
        line.say(&frame).await;
        let told = twice(line, &frame).await;
        let reasons = ["came where", "came in session", "before Welcome"];
        assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
        // Said again in the next session.
        if after != After::Nothing {
            let line = attack.line(after).await;
            let told = attack.refusal(line, &frame).await.unwrap();
            assert!(told.contains("came in session"), "{told}");
        }
    }
    // A frame left out.
    let mut line = attack.line(After::Open).await;
    line.data();
    let seal = line.seal().to_bytes();
    let told = attack.refusal(line, &seal).await.unwrap();
    assert!(told.contains("came where"), "{told}");
    attack.nothing_is_harmed().await;
    let mut session = world.connect(source.epoch).await.unwrap();
    source.cycle(&mut session).await.expect("an honest source goes on");
}

/// Goodbye ends a session: what follows is nobody's.
fn make_is_bye(frame: &[u8]) -> bool {
    let mut inbox = Inbox::default();
    inbox.buffer.extend_from_slice(frame);
    let raw = inbox.next_frame().unwrap().unwrap();
    matches!(SourceFrame::decode(raw), Ok(SourceFrame::Bye))
}

/// The refusal of a frame's repetition, past the right answer to the first.
async fn twice(mut line: Line, frame: &[u8]) -> String {
    line.say(frame).await;
    loop {
        let raw = line.hear().await.expect("a refusal");
        if let TargetFrame::Refuse(refusal) = TargetFrame::decode(raw).unwrap() {
            return refusal.to_string();
        }
    }
}

#[tokio::test]
async fn an_older_epoch_is_refused_and_the_store_is_unharmed() {
    let world = World::new().await;
    let (mut source, _) = world.with_points(1).await;
    let mut newer = world.connect(Epoch { number: 5, token: 1 }).await.unwrap();
    let older = source.epoch;
    source.epoch = Epoch { number: 5, token: 1 };
    source.cycle(&mut newer).await.unwrap();
    let attack = Attack::new(&world, older, source.last().unwrap());
    let mut line = attack.connect();
    let hello = line.machine.connect().to_bytes();
    let told = attack.refusal(line, &hello).await.unwrap();
    assert!(told.contains("older epoch"), "{told}");
    attack.nothing_is_harmed().await;
    source.cycle(&mut newer).await.expect("the owner goes on");
}

#[tokio::test]
async fn a_peer_of_an_unknown_version_is_told_both_versions_and_what_to_do() {
    let world = World::new().await;
    let (source, _) = world.with_points(1).await;
    let attack = Attack::new(&world, source.epoch, source.last().unwrap());
    let mut line = attack.connect();
    let versions = Versions { min: Versions::OURS.max + 1, max: Versions::OURS.max + 3 };
    line.machine = Machine::new(Hello { versions, ..attack.hello() });
    let hello = line.machine.connect().to_bytes();
    let told = attack.refusal(line, &hello).await.unwrap();
    assert!(told.contains("the source speaks versions 3 to 5, this target 1 to 2"), "{told}");
    assert!(told.contains("update the older of the two agents"), "{told}");
    attack.nothing_is_harmed().await;
}

//! The two session machines against a peer, and an owner, that do anything in any order. The
//! input is a story of steps; whatever it tells, the machine says only frames that the other
//! side can read, acknowledges only what its owner sealed, and keeps no more than the window.

use bytes::Bytes;
use farshore_types::{CLUSTER_SIZE, Consistency, Digest, Epoch, MachineId, PointId, PointRef, RootDigest};
use uuid::Uuid;

use crate::{
    Acceptance, Body, CycleKind, DiskSize, Effect, Encoded, Failure, FailureCode, Hello, Inbox, OpenCycle,
    Outcome, Patch, RawFrame, Record, SessionId, Source, SourceFrame, Target, TargetFrame, Ticket, Versions,
    WantDigests, header::Header, limits,
};

/// The numbers of every session here.
const SESSION: SessionId = SessionId(5);
const EPOCH: Epoch = Epoch { number: 3, token: 77 };

/// Steps to take, read from the input's bytes.
struct Story<'a>(&'a [u8]);

impl Story<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Up to 64 KiB, after their length in two bytes.
    fn bytes(&mut self) -> Option<Bytes> {
        let len = usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])).min(self.0.len());
        let (part, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(Bytes::copy_from_slice(part))
    }

    /// A frame of any type with right checksums; mostly the one that is due.
    fn frame(&mut self, session: SessionId, due: u64) -> Option<RawFrame> {
        let (kind, skew) = (self.byte()?, self.byte()?);
        let payload = self.bytes()?;
        let session = if skew & 0x80 == 0 { session } else { SessionId(u64::from(skew)) };
        let sequence = due.wrapping_add(u64::from(skew & 0x0f));
        let sealed = super::sealed(kind, session, sequence, &payload);
        let header = Header::decode(&sealed).ok()?;
        Some(RawFrame { header, payload })
    }
}

/// A target against any source. Returns whether a session was opened.
///
/// # Panics
/// Where it says what no source can read, or acknowledges what was not sealed.
#[must_use]
pub fn target_session(input: &[u8]) -> bool {
    let mut story = Story(input);
    let (mut target, mut due, mut lived) = (Target::new(), 0, false);
    let mut tickets: Vec<Ticket> = Vec::new();
    while let Some(step) = story.byte() {
        let effects = match step % 8 {
            0..=3 => {
                let session = if due == 0 { SessionId(0) } else { SESSION };
                let Some(raw) = story.frame(session, due) else { break };
                match target.receive(raw) {
                    Ok(effects) => {
                        due += 1;
                        effects
                    }
                    // The connection is given up; the next one may ask for what is held.
                    Err(rejected) => {
                        assert!(!rejected.to_string().is_empty(), "a refusal needs a reason");
                        let held = std::mem::take(&mut target).into_held();
                        drop(held);
                        (due, tickets) = (0, Vec::new());
                        continue;
                    }
                }
            }
            4 => target.accept(acceptance()),
            5 => report(tickets.first().and_then(|t| target.appended(*t).ok().flatten()), false),
            6 => {
                let sealed = PointRef {
                    id: PointId { epoch: EPOCH.number, number: u64::from(step) },
                    root: RootDigest([1; 32]),
                };
                report(tickets.last().and_then(|t| target.sealed(*t, sealed).ok().flatten()), true)
            }
            _ => {
                let failure = Failure::new(FailureCode::NoSpace, "full", "free some");
                report(tickets.pop().and_then(|t| target.failed(t, failure)), false)
            }
        };
        lived |= target.is_live();
        for effect in effects {
            match effect {
                Effect::Send(frame) => drop(readable_by_source(&frame)),
                Effect::Open(ticket, _) | Effect::Append(ticket, _) | Effect::Seal(ticket, _) => {
                    tickets.push(ticket);
                }
                _ => {}
            }
        }
    }
    lived
}

/// A frame that answers the owner's report; only a seal may be acknowledged.
fn report(said: Option<Encoded>, of_a_seal: bool) -> Vec<Effect> {
    if let Some(frame) = said {
        let sealed = matches!(readable_by_source(&frame), TargetFrame::Sealed(_));
        assert!(!sealed || of_a_seal, "acknowledged what was not sealed");
    }
    Vec::new()
}

fn acceptance() -> Acceptance {
    Acceptance {
        session: SESSION,
        held_epoch: Some(EPOCH),
        last: None,
        held: None,
        window: limits::WINDOW_MIN,
        disks: Vec::new(),
        free_space: 1 << 40,
    }
}

/// A source against any target. Returns whether a session was opened.
///
/// # Panics
/// Where it says what no target can read, or keeps more than the largest window so far.
#[must_use]
pub fn source_session(input: &[u8]) -> bool {
    let mut story = Story(input);
    let mut source = Source::new(hello());
    let (mut due, mut lived, mut cycle, mut window) = (0, false, 0, 0);
    drop(readable_by_target(&source.connect()));
    while let Some(step) = story.byte() {
        let said = match step % 16 {
            0..=6 => {
                let session = if due == 0 { SessionId(0) } else { source.session().unwrap_or(SESSION) };
                let Some(raw) = story.frame(session, due) else { break };
                due += 1;
                if let Ok(TargetFrame::Welcome(welcome)) = TargetFrame::decode(raw.clone()) {
                    window = window.max(u64::from(welcome.window));
                }
                if let Err(rejected) = source.receive(raw) {
                    assert!(!rejected.to_string().is_empty(), "a refusal needs a reason");
                    source.disconnect();
                }
                None
            }
            7 => {
                cycle = source.last().map_or(cycle, |last| last.id.number) + 1;
                source.open_cycle(opening(cycle, source.last())).ok()
            }
            8 => source.data(0, vec![zeros(u64::from(step))]).ok(),
            9 => source.data(0, vec![ones(u64::from(step)), patch(u64::from(step) + 1)]).ok(),
            10 => source.seal(Outcome::Point(Consistency::Crash), 0, RootDigest([1; 32]), Bytes::new()).ok(),
            11 => source.reseal(1).ok(),
            12 => source.abort("as the story wants it").ok().flatten(),
            13 => source.ping(7).ok(),
            14 => disk().and_then(|disk| source.want_digests(WantDigests { disk, from: 17 }).ok()),
            _ => {
                source.disconnect();
                due = 0;
                Some(source.connect())
            }
        };
        if let Some(frame) = said {
            drop(readable_by_target(&frame));
        }
        lived |= source.session().is_some();
        assert!(source.kept_bytes() <= window, "kept more than the window");
    }
    lived
}

fn hello() -> Hello {
    Hello {
        versions: Versions::OURS,
        machine: MachineId(Uuid::from_u128(0x1234)),
        machine_name: "web1".to_owned(),
        epoch: EPOCH,
        agent: "source 0.1".to_owned(),
        resume: None,
    }
}

fn disk() -> Option<farshore_types::DiskKey> {
    "vda".parse().ok()
}

/// A cycle of one disk of 64 MiB.
fn opening(cycle: u64, base: Option<PointRef>) -> OpenCycle {
    let kind = if base.is_some() { CycleKind::Delta } else { CycleKind::Initial };
    let disks = disk().into_iter().map(|key| DiskSize { key, size: 64 << 20 }).collect();
    OpenCycle { cycle, kind, base, disks }
}

fn zeros(cluster: u64) -> Record {
    Record { cluster, digest: Digest::ZERO, body: Body::Zero }
}

fn ones(cluster: u64) -> Record {
    let bytes = Bytes::from(vec![1; CLUSTER_SIZE]);
    Record { cluster, digest: Digest([1; 16]), body: Body::Raw(bytes) }
}

fn patch(cluster: u64) -> Record {
    let patch = Patch { blocks: 2, packed: true, bytes: Bytes::from_static(&[1; 9]) };
    Record { cluster, digest: Digest([1; 16]), body: Body::Patch(patch) }
}

fn readable_by_source(frame: &Encoded) -> TargetFrame {
    let frame = arrived(frame).and_then(|raw| TargetFrame::decode(raw).ok());
    frame.unwrap_or_else(|| panic!("the target said what no source can read"))
}

fn readable_by_target(frame: &Encoded) -> SourceFrame {
    let frame = arrived(frame).and_then(|raw| SourceFrame::decode(raw).ok());
    frame.unwrap_or_else(|| panic!("the source said what no target can read"))
}

fn arrived(frame: &Encoded) -> Option<RawFrame> {
    let mut inbox = Inbox::default();
    inbox.buffer.extend_from_slice(&frame.to_bytes());
    inbox.next_frame().ok().flatten()
}

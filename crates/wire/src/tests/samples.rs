//! One or more frames of every type.

use bytes::Bytes;
use farshore_types::{
    BLOCK_SIZE, CLUSTER_SIZE, Consistency, Digest, Epoch, MachineId, PointId, PointRef, RootDigest,
};
use uuid::Uuid;

use crate::*;

pub(super) const SESSION: SessionId = SessionId(5);

pub(super) fn epoch() -> Epoch {
    Epoch { number: 3, token: 77 }
}

pub(super) fn hello() -> Hello {
    Hello {
        versions: Versions::OURS,
        machine: MachineId(Uuid::from_u128(0x1234)),
        machine_name: "web1".to_owned(),
        epoch: epoch(),
        agent: "source 0.1".to_owned(),
        resume: None,
    }
}

pub(super) fn point(number: u64) -> PointRef {
    PointRef { id: PointId { epoch: 3, number }, root: root(number) }
}

pub(super) fn root(number: u64) -> RootDigest {
    let mut root = RootDigest([0x5a; 32]);
    root.0[..8].copy_from_slice(&number.to_le_bytes());
    root
}

pub(super) fn disks() -> Vec<DiskSize> {
    let disk = |key: &str, size| DiskSize { key: key.parse().unwrap(), size };
    vec![disk("vda", 64 * 1024 * 1024), disk("vdb", 1024 * 1024 + 1)]
}

pub(super) fn open_cycle(cycle: u64, base: Option<PointRef>) -> OpenCycle {
    let kind = if base.is_some() { CycleKind::Delta } else { CycleKind::Initial };
    OpenCycle { cycle, kind, base, disks: disks() }
}

pub(super) fn raw(cluster: u64, fill: u8) -> Record {
    let bytes = Bytes::from(vec![fill; CLUSTER_SIZE]);
    Record { cluster, digest: Digest::of(&bytes), body: Body::Raw(bytes) }
}

pub(super) fn zstd(cluster: u64, fill: u8) -> Record {
    Record { cluster, digest: Digest([fill | 1; 16]), body: Body::Zstd(Bytes::from(vec![fill; 24])) }
}

/// A patch of as many blocks as the mask has.
pub(super) fn patch(cluster: u64, blocks: u16, fill: u8) -> Record {
    let bytes = Bytes::from(vec![fill; blocks.count_ones() as usize * BLOCK_SIZE]);
    Record { cluster, digest: Digest([9; 16]), body: Body::Patch(Patch { blocks, packed: false, bytes }) }
}

pub(super) fn packed_patch(cluster: u64, blocks: u16, fill: u8) -> Record {
    let bytes = Bytes::from(vec![fill; 24]);
    Record { cluster, digest: Digest([8; 16]), body: Body::Patch(Patch { blocks, packed: true, bytes }) }
}

pub(super) fn zero(cluster: u64) -> Record {
    Record { cluster, digest: Digest::ZERO, body: Body::Zero }
}

pub(super) fn source_frames() -> Vec<SourceFrame> {
    let seal = |outcome| Seal {
        cycle: 9,
        outcome,
        age_ms: 1500,
        records: 4,
        root: root(9),
        definition: Bytes::from_static(b"<domain/>"),
    };
    let discard = Record { cluster: 3, digest: Digest::ZERO, body: Body::Discard };
    vec![
        SourceFrame::Hello(hello()),
        SourceFrame::Hello(Hello { resume: Some(SESSION), ..hello() }),
        SourceFrame::OpenCycle(open_cycle(9, Some(point(8)))),
        SourceFrame::OpenCycle(open_cycle(1, None)),
        SourceFrame::Data(Data { cycle: 9, index: 0, disk: 1, records: vec![zstd(1, 7), zero(2), discard] }),
        SourceFrame::Data(Data {
            cycle: 9,
            index: 1,
            disk: 0,
            records: vec![packed_patch(4, 0x8001, 3), patch(5, 0x0010, 7), zstd(6, 1)],
        }),
        SourceFrame::Seal(seal(Outcome::Stage)),
        SourceFrame::Seal(seal(Outcome::Point(Consistency::Crash))),
        SourceFrame::Seal(seal(Outcome::Point(Consistency::Application))),
        SourceFrame::Abort(Abort { cycle: 9, reason: "scratch is full".to_owned() }),
        SourceFrame::Ping { nonce: 42 },
        SourceFrame::WantDigests(WantDigests { disk: "vda".parse().unwrap(), from: 17 }),
        SourceFrame::Bye,
    ]
}

pub(super) fn target_frames() -> Vec<TargetFrame> {
    let welcome = Welcome {
        version: Versions::OURS.max,
        session: SESSION,
        last: Some(point(8)),
        open: Some(OpenHint { cycle: 9, next_index: 4 }),
        window: limits::WINDOW_DEFAULT,
        disks: disks(),
        free_space: 1 << 40,
    };
    let page = DigestPage {
        disk: "vda".parse().unwrap(),
        from: 17,
        entries: vec![(17, Digest([1; 16])), (90, Digest([2; 16]))],
        next: Some(100),
    };
    let failure = Failure::new(FailureCode::NoSpace, "the pool is full", "free 3 GiB");
    vec![
        TargetFrame::Welcome(welcome.clone()),
        TargetFrame::Welcome(Welcome { last: None, open: None, disks: Vec::new(), ..welcome }),
        TargetFrame::Refuse(Refusal::new(RefusalCode::Locked, "another agent holds it", "stop it")),
        TargetFrame::Credit(Credit { index: 3, bytes: 70_000 }),
        TargetFrame::Sealed(point(9)),
        TargetFrame::Failed { cycle: 9, failure },
        TargetFrame::Pong { nonce: 42 },
        TargetFrame::Digests(page.clone()),
        TargetFrame::Digests(DigestPage { entries: Vec::new(), next: None, ..page }),
    ]
}

/// The frame that some bytes hold, as a reader of a stream gets it.
pub(super) fn read_raw(bytes: &[u8]) -> Result<RawFrame, FrameError> {
    let mut inbox = Inbox::default();
    inbox.buffer.extend_from_slice(bytes);
    match inbox.next_frame()? {
        Some(raw) => {
            inbox.end()?;
            Ok(raw)
        }
        None => Err(FrameError::Cut { have: bytes.len() }),
    }
}

pub(super) fn raw_of(encoded: &Encoded) -> RawFrame {
    read_raw(&encoded.to_bytes()).unwrap()
}

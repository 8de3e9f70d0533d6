//! A bounded, seeded run of every fuzz target over damaged valid inputs and over nonsense.

use farshore_sim::mutate::fuzz;

use super::samples::*;
use crate::{
    bug::{Bug, plant},
    fuzz::*,
    *,
};

const ROUNDS: u64 = 4000;

fn streams() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let source = source_frames().into_iter().map(|f| f.encode(SESSION, 1).to_bytes().to_vec());
    let target = target_frames().into_iter().map(|f| f.encode(SESSION, 1).to_bytes().to_vec());
    (source.collect(), target.collect())
}

/// A type and a payload, as the target of single payloads takes them.
fn payloads() -> Vec<Vec<u8>> {
    let (source, target) = streams();
    let payload = |bytes: Vec<u8>| {
        let raw = read_raw(&bytes).unwrap();
        [&[raw.header.kind][..], &raw.payload].concat()
    };
    source.into_iter().chain(target).map(payload).collect()
}

/// One step that delivers a frame as it is due.
fn delivery(encoded: &Encoded) -> Vec<u8> {
    let raw = raw_of(encoded);
    let len = u16::try_from(raw.payload.len()).unwrap();
    [&[0, raw.header.kind, 0][..], &len.to_le_bytes(), &raw.payload].concat()
}

fn to_target(frames: &[SourceFrame]) -> Vec<u8> {
    let hello = delivery(&SourceFrame::Hello(hello()).encode(SESSION, 0));
    let rest = frames.iter().flat_map(|frame| delivery(&frame.encode(SESSION, 0)));
    hello.into_iter().chain([4]).chain(rest).collect()
}

/// What a target hears in its life, with its owner's reports.
fn target_stories() -> Vec<Vec<u8>> {
    let data = |index| {
        SourceFrame::Data(Data {
            cycle: 9,
            index,
            disk: 0,
            records: vec![zstd(index, 7), packed_patch(index + 9, 6, 1)],
        })
    };
    let seal = |records| {
        let (outcome, definition) = (Outcome::Stage, bytes::Bytes::new());
        SourceFrame::Seal(Seal { cycle: 9, outcome, age_ms: 1, records, root: root(9), definition })
    };
    let open = SourceFrame::OpenCycle(open_cycle(9, None));
    let whole = to_target(&[open.clone(), data(0), data(1), seal(4)]);
    let aborted = to_target(&[open, data(0), SourceFrame::Abort(Abort { cycle: 9, reason: "so".into() })]);
    let others = [SourceFrame::Ping { nonce: 1 }, SourceFrame::Bye];
    [[&whole[..], &[5, 5, 6]].concat(), [&aborted[..], &[5, 7]].concat(), to_target(&others)].into()
}

fn welcome(last: Option<farshore_types::PointRef>) -> Vec<u8> {
    let welcome = Welcome {
        version: Versions::OURS.max,
        session: SESSION,
        last,
        open: None,
        window: limits::WINDOW_MIN,
        disks: disks(),
        free_space: 1,
    };
    delivery(&TargetFrame::Welcome(welcome).encode(SessionId(0), 0))
}

/// What a source does and hears in its life.
fn source_stories() -> Vec<Vec<u8>> {
    let sealed = delivery(
        &TargetFrame::Sealed(farshore_types::PointRef { id: point(1).id, root: root_of_ones() })
            .encode(SESSION, 1),
    );
    let failed = TargetFrame::Failed { cycle: 9, failure: Failure::new(FailureCode::NoSpace, "", "") };
    let failed = delivery(&failed.encode(SESSION, 1));
    let credit = delivery(&TargetFrame::Credit(Credit { index: 0, bytes: 60 }).encode(SESSION, 1));
    [
        [&welcome(None)[..], &[7, 8, 9, 10], &sealed, &[7]].concat(),
        [&welcome(Some(point(8)))[..], &[7, 8], &credit, &[8, 10], &failed, &[13, 14]].concat(),
        [&welcome(None)[..], &[7, 8, 12, 15], &welcome(None), &[11, 12]].concat(),
    ]
    .into()
}

fn root_of_ones() -> farshore_types::RootDigest {
    farshore_types::RootDigest([1; 32])
}

#[test]
fn no_stream_and_no_payload_harms_a_decoder() {
    let (source, target) = streams();
    assert!(fuzz(&source, ROUNDS, source_stream) > 100);
    assert!(fuzz(&target, ROUNDS, target_stream) > 100);
    // Past the checksums, many damages still mean something.
    assert!(fuzz(&payloads(), 4 * ROUNDS, payload) > 1000);
}

#[test]
fn no_story_makes_a_session_machine_lie_or_panic() {
    assert!(target_stories().iter().all(|story| target_session(story)), "the samples open sessions");
    assert!(source_stories().iter().all(|story| source_session(story)), "the samples open sessions");
    assert!(fuzz(&target_stories(), 4 * ROUNDS, target_session) > 1000);
    assert!(fuzz(&source_stories(), 4 * ROUNDS, source_session) > 1000);
}

/// The fuzzer is tested: a source that ignores its window is caught.
#[test]
fn a_source_that_keeps_more_than_the_window_is_caught() {
    let greedy = [&welcome(None)[..], &[7], &[9; 300]].concat();
    assert!(source_session(&greedy));
    let _planted = plant(Bug::IgnoreWindow);
    assert!(std::panic::catch_unwind(|| source_session(&greedy)).is_err());
}

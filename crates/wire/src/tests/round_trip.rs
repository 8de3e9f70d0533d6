//! What is encoded is decoded to the same, whatever it holds; what is not ours is refused.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use farshore_types::Digest;
use proptest::{collection::vec, prelude::*};

use super::samples::*;
use crate::*;

#[test]
fn every_frame_survives_its_bytes() {
    for frame in source_frames() {
        let raw = raw_of(&frame.encode(SESSION, 7));
        assert_eq!((raw.header.session, raw.header.sequence), (SESSION, 7));
        assert_eq!(SourceFrame::decode(raw).as_ref(), Ok(&frame));
    }
    for frame in target_frames() {
        assert_eq!(TargetFrame::decode(raw_of(&frame.encode(SESSION, 7))).as_ref(), Ok(&frame));
    }
}

#[test]
fn bodies_are_slices_of_what_was_read_and_of_what_was_given() {
    let record = raw(1, 9);
    let given = record.stored().as_ptr();
    let frame = SourceFrame::Data(Data { cycle: 1, index: 0, disk: 0, records: vec![record] });
    let encoded = frame.encode(SESSION, 0);
    assert_eq!(encoded.parts.last().map(|part| part.as_ptr()), Some(given), "not copied on the way out");
    let raw = raw_of(&encoded);
    let range = raw.payload.as_ptr_range();
    let Ok(SourceFrame::Data(data)) = SourceFrame::decode(raw.clone()) else { panic!("not Data") };
    assert!(range.contains(&data.records[0].stored().as_ptr()), "not copied on the way in");
    drop(raw);
}

#[test]
fn codes_survive_and_unknown_ones_become_other() {
    for code in RefusalCode::ALL {
        assert_eq!(RefusalCode::from_number(code.number()), *code);
    }
    for code in FailureCode::ALL {
        assert_eq!(FailureCode::from_number(code.number()), *code);
    }
    assert_eq!(RefusalCode::from_number(7777), RefusalCode::Other);
}

/// What a payload of one patch record is refused for, after `damage` of its head.
fn refusal_of_patch(record: Record, damage: impl Fn(&mut [u8])) -> RecordError {
    let frame = SourceFrame::Data(Data { cycle: 1, index: 0, disk: 0, records: vec![record] });
    let mut payload = raw_of(&frame.encode(SESSION, 0)).payload.to_vec();
    damage(&mut payload[24..24 + 32]);
    match decode_payload(0x03, &payload).unwrap_err() {
        FrameError::Record { index: 0, source } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn a_patch_that_makes_no_sense_is_refused_with_its_reason() {
    let cluster = 6;
    for blocks in [0, u16::MAX] {
        let record = packed_patch(cluster, blocks, 1);
        assert_eq!(record.check(), Err(RecordError::Blocks { cluster, blocks }));
        assert_eq!(refusal_of_patch(record, |_| ()), RecordError::Blocks { cluster, blocks });
    }
    let error = refusal_of_patch(patch(cluster, 6, 1), |head| head[11] = 2);
    assert_eq!(error, RecordError::Encoding { cluster, encoding: 2 });
    // A raw patch of two blocks is 8 KiB, a packed one is shorter and has a byte at least.
    let error = refusal_of_patch(patch(cluster, 6, 1), |head| head[9] = 4);
    assert_eq!(error, RecordError::Length { cluster, kind: "patch", len: 8192 });
    let error = refusal_of_patch(patch(cluster, 6, 1), |head| head[11] = 1);
    assert_eq!(error, RecordError::Length { cluster, kind: "patch", len: 8192 });
    let empty = Patch { blocks: 1, packed: true, bytes: Bytes::new() };
    let record = Record { body: Body::Patch(empty), ..patch(cluster, 1, 1) };
    assert_eq!(refusal_of_patch(record, |_| ()), RecordError::Length { cluster, kind: "patch", len: 0 });
    let record = Record { digest: Digest::ZERO, ..patch(cluster, 1, 1) };
    assert!(matches!(refusal_of_patch(record, |_| ()), RecordError::ZeroDigest { kind: "patch", .. }));
    // What only a patch may have is reserved in all others.
    let frame = SourceFrame::Data(Data { cycle: 1, index: 0, disk: 0, records: vec![zstd(6, 1)] });
    let payload = raw_of(&frame.encode(SESSION, 0)).payload;
    for at in 9..12 {
        let mut payload = payload.to_vec();
        payload[24 + at] = 1;
        assert!(matches!(decode_payload(0x03, &payload).unwrap_err(), FrameError::Reserved { .. }));
    }
}

#[test]
fn records_that_break_their_rules_are_refused() {
    let digest = Digest([7; 16]);
    let wrong = [
        Record { cluster: 0, digest, body: Body::Raw(Bytes::from_static(b"short")) },
        Record { cluster: 0, digest, body: Body::Zstd(Bytes::new()) },
        Record { cluster: 0, digest, body: Body::Zstd(vec![0; farshore_types::CLUSTER_SIZE].into()) },
        Record { cluster: 0, digest, body: Body::Zero },
        Record { cluster: 0, digest: Digest::ZERO, body: Body::Zstd(Bytes::from_static(b"x")) },
    ];
    for record in wrong {
        assert!(record.check().is_err());
        let frame = SourceFrame::Data(Data { cycle: 1, index: 0, disk: 0, records: vec![record] });
        let error = SourceFrame::decode(raw_of(&frame.encode(SESSION, 0))).unwrap_err();
        assert!(matches!(error, FrameError::Record { .. }), "{error}");
    }
    let lie = Record { digest: Digest([7; 16]), ..raw(0, 1) };
    assert!(lie.check().is_ok());
    assert!(matches!(lie.verify(), Err(RecordError::Digest { .. })));
}

#[test]
fn no_frame_decodes_when_cut_short_or_continued() {
    let source = source_frames().into_iter().map(|f| f.encode(SESSION, 0));
    for encoded in source.chain(target_frames().into_iter().map(|f| f.encode(SESSION, 0))) {
        let raw = raw_of(&encoded);
        for len in 0..raw.payload.len() {
            decode_payload(raw.header.kind, &raw.payload[..len]).expect_err("cut short");
        }
        let longer = [&raw.payload[..], &[0]].concat();
        decode_payload(raw.header.kind, &longer).expect_err("continued");
        let bytes = encoded.to_bytes();
        for len in 1..bytes.len() {
            assert_eq!(read_raw(&bytes[..len]), Err(FrameError::Cut { have: len }));
        }
    }
}

fn decode_payload(kind: u8, payload: &[u8]) -> Result<(), FrameError> {
    let mut out = crate::codec::Output::new();
    out.slice(payload);
    let raw = raw_of(&Encoded::new(kind, SESSION, 0, out, Vec::new()));
    if kind < 0x80 { SourceFrame::decode(raw).map(drop) } else { TargetFrame::decode(raw).map(drop) }
}

fn any_record() -> impl Strategy<Value = Record> {
    let digest = any::<[u8; 16]>().prop_filter("not zeros", |d| *d != [0; 16]).prop_map(Digest);
    let parts = (any::<u64>(), 0..6u8, digest, vec(any::<u8>(), 1..200), 1..u16::MAX);
    parts.prop_map(|(cluster, kind, digest, bytes, blocks)| {
        let body = match kind {
            0 => Body::Raw(vec![bytes[0]; farshore_types::CLUSTER_SIZE].into()),
            1 => Body::Zstd(bytes.into()),
            2 => Body::Zero,
            3 => patch(cluster, blocks, bytes[0]).body,
            4 => Body::Patch(Patch { blocks, packed: true, bytes: bytes.into() }),
            _ => Body::Discard,
        };
        let zeros = matches!(body, Body::Zero | Body::Discard);
        Record { cluster, digest: if zeros { Digest::ZERO } else { digest }, body }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_data_survives(cycle: u64, index: u64, disk: u16, records in vec(any_record(), 1..8)) {
        let frame = SourceFrame::Data(Data { cycle, index, disk, records });
        prop_assert_eq!(SourceFrame::decode(raw_of(&frame.encode(SESSION, index))), Ok(frame));
    }

    #[test]
    fn any_texts_survive_up_to_their_limit(name in ".{0,60}", message in ".{0,3000}") {
        let hello = SourceFrame::Hello(Hello { machine_name: name, ..hello() });
        prop_assert_eq!(SourceFrame::decode(raw_of(&hello.encode(SESSION, 0))), Ok(hello));
        let frame = TargetFrame::Refuse(Refusal::new(RefusalCode::Other, message.clone(), ""));
        match TargetFrame::decode(raw_of(&frame.encode(SESSION, 0))) {
            Ok(TargetFrame::Refuse(refusal)) => prop_assert!(message.starts_with(&refusal.message)),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..600)) {
        let _ = (fuzz::source_stream(&bytes), fuzz::target_stream(&bytes), fuzz::payload(&bytes));
    }

    #[test]
    fn frames_arrive_whole_however_the_stream_is_cut_up(sizes in vec(1..700usize, 1..40)) {
        let frames = source_frames();
        let bytes: Vec<u8> = frames.iter().flat_map(|f| f.encode(SESSION, 1).to_bytes()).collect();
        let (mut inbox, mut got, mut rest) = (Inbox::default(), Vec::new(), &bytes[..]);
        for size in sizes.into_iter().cycle() {
            inbox.make_room(size);
            let room = inbox.buffer.capacity() - inbox.buffer.len();
            let (now, later) = rest.split_at(size.min(room).min(rest.len()));
            inbox.buffer.extend_from_slice(now);
            while let Some(raw) = inbox.next_frame().unwrap() {
                got.push(SourceFrame::decode(raw).unwrap());
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
            prop_assert!(inbox.wanted() > 0);
        }
        prop_assert_eq!(got, frames);
    }
}

#[test]
fn memory_of_frames_that_are_gone_is_filled_again() {
    let data = SourceFrame::Data(Data {
        cycle: 1,
        index: 0,
        disk: 0,
        records: (1..4).map(|cluster| raw(cluster, 7)).collect(),
    });
    let bytes = data.encode(SESSION, 0).to_bytes();
    let (mut inbox, mut held, mut places) = (Inbox::default(), VecDeque::new(), BTreeSet::new());
    for _ in 0..50 {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            inbox.make_room(bytes.len());
            let room = inbox.buffer.capacity() - inbox.buffer.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            inbox.buffer.extend_from_slice(now);
            rest = later;
        }
        let raw = inbox.next_frame().unwrap().unwrap();
        places.insert(raw.payload.as_ptr() as usize);
        held.push_back(raw);
        // Whoever works on frames is never more than four behind.
        if held.len() > 4 {
            let oldest = held.pop_front().unwrap();
            assert_eq!(SourceFrame::decode(oldest).unwrap(), data);
        }
    }
    assert!(places.len() <= 8, "{} places for 5 frames at a time", places.len());
}

//! What may come when, frame by frame.

use bytes::Bytes;
use farshore_types::{Consistency, Epoch};

use super::samples::*;
use crate::*;

fn acceptance() -> Acceptance {
    Acceptance {
        session: SESSION,
        held_epoch: Some(epoch()),
        last: None,
        held: None,
        window: limits::WINDOW_MIN,
        disks: Vec::new(),
        free_space: 1 << 40,
    }
}

/// A target with a live session; the numbers that its source would have.
fn live_target() -> Target {
    let mut target = Target::new();
    target.receive(raw_of(&SourceFrame::Hello(hello()).encode(SessionId(0), 0))).unwrap();
    let effects = target.accept(acceptance());
    assert!(target.is_live() && matches!(effects[..], [Effect::Send(_)]));
    target
}

fn give(target: &mut Target, sequence: u64, frame: &SourceFrame) -> Result<Vec<Effect>, Rejected> {
    target.receive(raw_of(&frame.encode(SESSION, sequence)))
}

fn violation<T: std::fmt::Debug>(result: Result<T, Rejected>) -> String {
    match result {
        Err(Rejected::Violation(violation)) => violation.to_string(),
        other => panic!("expected a violation, got {other:?}"),
    }
}

fn said(effects: &[Effect]) -> Vec<TargetFrame> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(frame) => Some(TargetFrame::decode(raw_of(frame)).unwrap()),
        _ => None,
    });
    sent.collect()
}

fn data(cycle: u64, index: u64, records: Vec<Record>) -> SourceFrame {
    SourceFrame::Data(Data { cycle, index, disk: 0, records })
}

fn seal(cycle: u64, records: u64) -> SourceFrame {
    let outcome = Outcome::Point(Consistency::Crash);
    SourceFrame::Seal(Seal {
        cycle,
        outcome,
        age_ms: 0,
        records,
        root: root(cycle),
        definition: Bytes::new(),
    })
}

#[test]
fn a_frame_that_is_repeated_replayed_or_early_is_refused() {
    let ping = SourceFrame::Ping { nonce: 1 };
    let mut target = live_target();
    give(&mut target, 1, &ping).unwrap();
    assert!(violation(give(&mut target, 1, &ping)).contains("frame 1 came where frame 2 was due"));
    let mut target = live_target();
    assert!(violation(give(&mut target, 2, &ping)).contains("frame 2 came where frame 1 was due"));
    let mut target = live_target();
    let older = ping.encode(SessionId(SESSION.0 - 1), 1);
    assert!(violation(target.receive(raw_of(&older))).contains("session 4 came in session 5"));
}

#[test]
fn nothing_but_hello_may_come_first_and_never_twice() {
    for frame in source_frames().into_iter().filter(|f| !matches!(f, SourceFrame::Hello(_))) {
        let mut target = Target::new();
        violation(target.receive(raw_of(&frame.encode(SessionId(0), 0))));
    }
    violation(give(&mut live_target(), 1, &SourceFrame::Hello(hello())));
}

#[test]
fn frames_out_of_a_cycles_order_are_refused() {
    for frame in
        [data(1, 0, vec![zero(1)]), seal(1, 0), SourceFrame::Abort(Abort { cycle: 1, reason: String::new() })]
    {
        assert!(violation(give(&mut live_target(), 1, &frame)).contains("no cycle is open"));
    }
    let opened = || {
        let mut target = live_target();
        give(&mut target, 1, &SourceFrame::OpenCycle(open_cycle(1, None))).unwrap();
        target
    };
    for wrong in [
        SourceFrame::OpenCycle(open_cycle(2, None)),
        data(1, 1, vec![zero(1)]),
        data(2, 0, vec![zero(1)]),
        data(1, 0, vec![zero(1024)]),
        SourceFrame::Data(Data { cycle: 1, index: 0, disk: 2, records: vec![zero(0)] }),
        seal(2, 0),
    ] {
        violation(give(&mut opened(), 2, &wrong));
    }
    // 1 MiB and one byte are 17 clusters.
    let last =
        |cluster| SourceFrame::Data(Data { cycle: 1, index: 0, disk: 1, records: vec![zero(cluster)] });
    give(&mut opened(), 2, &last(16)).unwrap();
    violation(give(&mut opened(), 2, &last(17)));
}

#[test]
fn more_data_than_the_window_is_refused() {
    let mut target = live_target();
    give(&mut target, 1, &SourceFrame::OpenCycle(open_cycle(1, None))).unwrap();
    let frame = |index| data(1, index, (0..31).map(|c| raw(c, 1)).collect());
    give(&mut target, 2, &frame(0)).unwrap();
    give(&mut target, 3, &frame(1)).unwrap();
    assert!(violation(give(&mut target, 4, &frame(2))).contains("window"));
}

/// Seals with more records than were sent; the effects where the target does not mind.
pub(super) fn a_miscounted_seal() -> Result<(), Vec<Effect>> {
    let mut target = live_target();
    give(&mut target, 1, &SourceFrame::OpenCycle(open_cycle(1, None))).unwrap();
    give(&mut target, 2, &data(1, 0, vec![zero(1), zero(2)])).unwrap();
    let effects = give(&mut target, 3, &seal(1, 3)).unwrap();
    let told = matches!(
        &said(&effects)[..],
        [TargetFrame::Failed { cycle: 1, failure }] if failure.code == FailureCode::RecordCount
    );
    let dropped = matches!(effects.last(), Some(Effect::Drop { cycle: 1, .. }));
    if told && dropped { Ok(()) } else { Err(effects) }
}

#[test]
fn a_seal_with_another_count_than_arrived_fails_the_cycle() {
    a_miscounted_seal().unwrap();
}

#[test]
fn a_seal_is_answered_once_also_when_the_target_had_failed_before_it_came() {
    let mut target = live_target();
    let effects = give(&mut target, 1, &SourceFrame::OpenCycle(open_cycle(1, None))).unwrap();
    let [Effect::Open(ticket, _)] = effects[..] else { panic!("{effects:?}") };
    let failure = Failure::new(FailureCode::NoSpace, "full", "free some");
    assert!(target.failed(ticket, failure.clone()).is_some());
    assert!(target.failed(ticket, failure).is_none(), "told once");
    assert!(give(&mut target, 2, &data(1, 0, vec![zero(1)])).unwrap().is_empty());
    assert!(give(&mut target, 3, &seal(1, 1)).unwrap().is_empty());
    // The number is free again, and a late report for the old cycle changes nothing.
    give(&mut target, 4, &SourceFrame::OpenCycle(open_cycle(1, None))).unwrap();
    assert!(target.appended(ticket).unwrap().is_none());
    assert!(target.sealed(ticket, point(1)).unwrap().is_none());
}

#[test]
fn an_older_epoch_or_a_conflict_is_never_welcomed() {
    for (held, code) in [
        (Epoch { number: 4, token: 1 }, RefusalCode::OlderEpoch),
        (Epoch { number: 3, token: 1 }, RefusalCode::EpochConflict),
    ] {
        let mut target = Target::new();
        target.receive(raw_of(&SourceFrame::Hello(hello()).encode(SessionId(0), 0))).unwrap();
        let effects = target.accept(Acceptance { held_epoch: Some(held), ..acceptance() });
        assert!(matches!(&said(&effects)[..], [TargetFrame::Refuse(refusal)] if refusal.code == code));
        assert!(!target.is_live());
    }
}

#[test]
fn versions_without_overlap_are_refused_with_both_ranges() {
    let versions = Versions { min: limits::VERSION_MAX + 1, max: limits::VERSION_MAX + 4 };
    let mut target = Target::new();
    let newer = SourceFrame::Hello(Hello { versions, ..hello() });
    let effects = target.receive(raw_of(&newer.encode(SessionId(0), 0))).unwrap();
    let [TargetFrame::Refuse(refusal)] = &said(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(refusal.code, RefusalCode::Version);
    assert!(refusal.message.contains("3 to 6") && refusal.advice.contains("older of the two"));
}

/// A peer of the first version is still spoken with, and neither gives nor takes patches.
#[test]
fn patches_belong_to_sessions_that_have_agreed_on_them() {
    let first = Versions { min: 1, max: 1 };
    let (old, new) = (SourceFrame::Hello(Hello { versions: first, ..hello() }), SourceFrame::Hello(hello()));
    for (mut target, hello, agreed) in [
        (Target::new(), &old, 1),
        (Target::speaking(first), &new, 1),
        (Target::new(), &new, limits::VERSION_PATCHES),
    ] {
        target.receive(raw_of(&hello.encode(SessionId(0), 0))).unwrap();
        let effects = target.accept(acceptance());
        let [TargetFrame::Welcome(welcome)] = &said(&effects)[..] else { panic!("{effects:?}") };
        assert_eq!(welcome.version, agreed);
        give(&mut target, 1, &SourceFrame::OpenCycle(open_cycle(9, None))).unwrap();
        let records = vec![zstd(0, 1), patch(1, 2, 1)];
        let data = give(&mut target, 2, &SourceFrame::Data(Data { cycle: 9, index: 0, disk: 0, records }));
        let mut source = source_of(welcome.version);
        source.open_cycle(open_cycle(9, None)).unwrap();
        let sent = source.data(0, vec![zstd(0, 1), patch(1, 2, 1)]);
        if welcome.takes_patches() {
            assert!(matches!(data.unwrap()[..], [Effect::Append(..)]));
            sent.unwrap();
        } else {
            assert!(violation(data).contains("patch"));
            assert_eq!(sent.unwrap_err(), Misuse::Patch { cluster: 1 });
        }
    }
}

/// Patches on their way when the target was replaced by an older one must not be said again.
#[test]
fn a_cycle_does_not_go_on_in_an_older_version() {
    let mut source = source_of(limits::VERSION_PATCHES);
    source.open_cycle(open_cycle(9, None)).unwrap();
    source.data(0, vec![patch(1, 2, 1)]).unwrap();
    source.disconnect();
    source.connect();
    let [_, TargetFrame::Welcome(welcome), ..] = &target_frames()[..] else { panic!("no samples") };
    let welcome = Welcome { version: 1, ..welcome.clone() };
    let notice = source.receive(raw_of(&TargetFrame::Welcome(welcome).encode(SessionId(0), 0))).unwrap();
    let Notice::Welcomed { resumption, send, .. } = notice else { panic!("{notice:?}") };
    assert_eq!(resumption, Resumption::Lost { cycle: 9 });
    let said = send.iter().map(|frame| SourceFrame::decode(raw_of(frame)).unwrap());
    assert!(said.into_iter().all(|frame| !matches!(frame, SourceFrame::Data(_))));
}

fn live_source() -> Source {
    source_of(Versions::OURS.max)
}

fn source_of(version: u16) -> Source {
    let mut source = Source::new(hello());
    source.connect();
    let [_, TargetFrame::Welcome(welcome), ..] = &target_frames()[..] else { panic!("no samples") };
    let welcome = TargetFrame::Welcome(Welcome { version, ..welcome.clone() });
    source.receive(raw_of(&welcome.encode(SessionId(0), 0))).unwrap();
    source
}

#[test]
fn an_acknowledgement_of_anything_but_what_was_asked_is_refused() {
    let give = |frame: TargetFrame| {
        let mut source = live_source();
        source.open_cycle(open_cycle(9, None)).unwrap();
        source.data(0, vec![zero(1)]).unwrap();
        source.seal(Outcome::Stage, 0, root(9), Bytes::new()).unwrap();
        source.receive(raw_of(&frame.encode(SESSION, 1)))
    };
    assert!(matches!(give(TargetFrame::Sealed(point(9))), Ok(Notice::Ended(CycleEnd::Sealed(_)))));
    let failure = Failure::new(FailureCode::Other, "", "");
    let mut other_root = point(9);
    other_root.root = root(8);
    for wrong in [
        TargetFrame::Sealed(point(8)),
        TargetFrame::Sealed(other_root),
        TargetFrame::Failed { cycle: 8, failure },
        TargetFrame::Credit(Credit { index: 2, bytes: 1 }),
        TargetFrame::Credit(Credit { index: 1, bytes: 1 }),
        TargetFrame::Digests(DigestPage {
            disk: "vda".parse().unwrap(),
            from: 0,
            entries: Vec::new(),
            next: None,
        }),
    ] {
        violation(give(wrong));
    }
    let mut source = live_source();
    violation(source.receive(raw_of(&TargetFrame::Sealed(point(9)).encode(SESSION, 1))));
}

#[test]
fn the_source_cannot_be_made_to_say_what_the_target_would_refuse() {
    let mut source = Source::new(hello());
    assert!(matches!(source.open_cycle(open_cycle(1, None)), Err(Misuse::Offline { .. })));
    let mut source = live_source();
    assert!(matches!(source.data(0, vec![zero(1)]), Err(Misuse::Cycle { .. })));
    source.open_cycle(open_cycle(9, None)).unwrap();
    assert!(matches!(source.open_cycle(open_cycle(10, None)), Err(Misuse::Cycle { .. })));
    assert!(matches!(source.data(0, vec![zero(1024)]), Err(Misuse::OutOfBounds { .. })));
    assert!(matches!(source.data(2, vec![zero(0)]), Err(Misuse::OutOfBounds { .. })));
    assert!(matches!(source.data(0, Vec::new()), Err(Misuse::TooLarge { .. })));
    assert!(matches!(source.data(0, (0..40).map(|c| raw(c, 1)).collect()), Err(Misuse::TooLarge { .. })));
}

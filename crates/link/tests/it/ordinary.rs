//! Sessions that nothing disturbs, and those that their target disturbs.

use std::time::{Duration, Instant};

use farshore_link::{CycleOver, LinkError, RateLimit, SessionOptions, Timing};
use farshore_types::Epoch;
use farshore_wire::{CycleKind, FailureCode, RefusalCode, limits::WINDOW_MIN};

use crate::{
    memory::refusal,
    world::{HASTY, MACHINE, Model, Site},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_is_what_was_sent() {
    let site = Site::start(Timing::default()).await;
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    let mut model = Model::default();
    for kind in [CycleKind::Initial, CycleKind::Delta, CycleKind::Resync] {
        let point = model.run(&mut session, kind, 20).await.unwrap();
        assert_eq!((point.id.epoch, point.id.number), (3, model.cycle));
    }
    assert!(session.ping().await.unwrap() < Duration::from_secs(1));
    site.memory.with(MACHINE, |replica| {
        assert_eq!(replica.content, model.content);
        assert_eq!(replica.sealed.len(), 3);
    });
    session.bye().await.unwrap();
    site.stop().await;
}

#[tokio::test]
async fn digests_come_page_by_page_as_they_were_sealed() {
    let site = Site::start(Timing::default()).await;
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 4).await.unwrap();
    let (disk, mut from, mut got) = ("vda".parse().unwrap(), Some(0), Vec::new());
    while let Some(at) = from {
        let page = session.digests(&disk, at).await.unwrap();
        got.extend(page.entries);
        from = page.next;
    }
    let of_disk = model.content.iter().filter(|((key, _), _)| *key == disk);
    assert_eq!(got, of_disk.map(|((_, at), digest)| (*at, *digest)).collect::<Vec<_>>());
    assert!(got.len() > 10);
    site.stop().await;
}

#[tokio::test]
async fn an_aborted_cycle_leaves_nothing_and_its_number_is_free_again() {
    let site = Site::start(Timing::default()).await;
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    let mut model = Model::default();
    session.open_cycle(model.open(CycleKind::Initial)).await.unwrap();
    session.send(0, model.records(0, 16)).await.unwrap();
    session.abort("the test wants it").await.unwrap();
    session.abort("twice does no harm").await.unwrap();
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 2).await.unwrap();
    site.memory.with(MACHINE, |replica| assert_eq!(replica.content, model.content));
    site.stop().await;
}

#[tokio::test]
async fn a_full_target_fails_the_cycle_and_the_session_lives() {
    let site = Site::start(Timing::default()).await;
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    site.memory.knobs(|knobs| knobs.fail_after = Some(3));
    let error = Model::default().run(&mut session, CycleKind::Initial, 40).await.unwrap_err();
    let LinkError::Cycle(CycleOver::Failed { cycle: 1, failure }) = &error else { panic!("{error}") };
    assert_eq!(failure.code, FailureCode::NoSpace);
    assert!(error.is_recoverable() && error.to_string().contains("free some space"), "{error}");
    site.memory.knobs(|knobs| knobs.fail_after = None);
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 4).await.unwrap();
    site.memory.with(MACHINE, |replica| assert_eq!(replica.content, model.content));
    site.stop().await;
}

#[tokio::test]
async fn a_cycle_that_builds_on_another_base_is_refused_before_its_data() {
    let site = Site::start(Timing::default()).await;
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 2).await.unwrap();
    model.last = None;
    let error = model.run(&mut session, CycleKind::Delta, 2).await.unwrap_err();
    assert!(
        matches!(&error, LinkError::Cycle(CycleOver::Failed { failure, .. }) if failure.code == FailureCode::BaseMismatch),
        "{error}"
    );
    site.stop().await;
}

#[tokio::test]
async fn the_sink_refuses_an_older_epoch_and_a_conflict() {
    let site = Site::start(Timing::default()).await;
    site.connect(SessionOptions::default()).await.unwrap().bye().await.unwrap();
    for (epoch, code) in [
        (Epoch { number: 2, token: 99 }, RefusalCode::OlderEpoch),
        (Epoch { number: 3, token: 98 }, RefusalCode::EpochConflict),
    ] {
        let error = site.connect_at(&site.endpoint(), epoch, SessionOptions::default()).await.unwrap_err();
        let LinkError::Refused { refusal, .. } = &error else { panic!("{error}") };
        assert_eq!(refusal.code, code);
        assert!(!error.is_recoverable());
    }
    site.memory.knobs(|knobs| knobs.refuse = Some(refusal(RefusalCode::Busy)));
    assert!(site.connect(SessionOptions::default()).await.unwrap_err().is_recoverable());
    site.stop().await;
}

#[tokio::test]
async fn a_slow_sink_holds_the_source_at_one_window() {
    let site = Site::start(Timing::default()).await;
    site.memory.knobs(|knobs| knobs.append_delay = Duration::from_millis(20));
    let mut session = site.connect(SessionOptions::default()).await.unwrap();
    let mut model = Model::default();
    session.open_cycle(model.open(CycleKind::Initial)).await.unwrap();
    let mut sent = 0;
    for _ in 0..40 {
        let records = model.records(0, 16);
        sent += records.iter().map(|r| r.wire_len() as u64).sum::<u64>();
        session.send(0, records).await.unwrap();
        let appended = site.memory.knobs(|knobs| knobs.appended_bytes);
        assert!(sent <= appended + u64::from(WINDOW_MIN), "{sent} bytes sent, {appended} taken over");
    }
    assert!(sent > 2 * u64::from(WINDOW_MIN), "the window was never full");
    model.seal(&mut session).await.unwrap();
    site.memory.with(MACHINE, |replica| assert_eq!(replica.content, model.content));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_slower_than_the_idle_deadline_is_not_taken_for_dead() {
    let site = Site::start(HASTY).await;
    site.memory.knobs(|knobs| knobs.append_delay = HASTY.idle * 2);
    let options = SessionOptions { timing: HASTY, ..SessionOptions::default() };
    let mut session = site.connect(options).await.unwrap();
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 2).await.unwrap();
    assert_eq!(session.welcome().session.0, 1, "the session was never cut");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_outlives_the_idle_deadline() {
    let site = Site::start(HASTY).await;
    let options = SessionOptions { timing: HASTY, ..SessionOptions::default() };
    let mut session = site.connect(options).await.unwrap();
    tokio::time::sleep(HASTY.idle * 2).await;
    Model::default().run(&mut session, CycleKind::Initial, 1).await.unwrap();
    assert_eq!(session.welcome().session.0, 1, "the session was never cut");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_of_a_machine_takes_over_from_the_older() {
    let site = Site::start(Timing::default()).await;
    let no_healing = SessionOptions { heal_for: Duration::ZERO, ..SessionOptions::default() };
    let mut older = site.connect(no_healing).await.unwrap();
    let mut model = Model::default();
    older.open_cycle(model.open(CycleKind::Initial)).await.unwrap();
    older.send(0, model.records(0, 16)).await.unwrap();
    let mut newer = site.connect(SessionOptions::default()).await.unwrap();
    let error = older.seal_anything().await;
    assert!(error.is_recoverable(), "{error}");
    let mut model = Model::default();
    model.run(&mut newer, CycleKind::Initial, 3).await.unwrap();
    site.memory.with(MACHINE, |replica| assert_eq!(replica.content, model.content));
    site.stop().await;
}

/// A seal that is expected to fail.
trait SealAnything {
    async fn seal_anything(&mut self) -> LinkError;
}

impl SealAnything for farshore_link::Session {
    async fn seal_anything(&mut self) -> LinkError {
        Model::default().seal(self).await.unwrap_err()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_target_is_found_again_and_the_cycle_goes_on_or_is_run_again() {
    let site = Site::start(Timing::default()).await;
    let options = SessionOptions { heal_for: Duration::from_millis(700), ..SessionOptions::default() };
    let mut session = site.connect(options).await.unwrap();
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 2).await.unwrap();
    site.stop().await;
    let start = Instant::now();
    let error = model.run(&mut session, CycleKind::Delta, 2).await.unwrap_err();
    assert!(error.is_recoverable() && start.elapsed() < Duration::from_secs(5), "{error}");
    let error = session.ping().await.unwrap_err();
    assert!(matches!(&error, LinkError::Ended { recoverable: true, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bandwidth_limit_holds_and_can_be_lifted_in_mid_cycle() {
    let site = Site::start(Timing::default()).await;
    let rate = RateLimit::new(Some(256 * 1024));
    let options = SessionOptions { rate: rate.clone(), ..SessionOptions::default() };
    let mut session = site.connect(options).await.unwrap();
    let mut model = Model::default();
    session.open_cycle(model.open(CycleKind::Initial)).await.unwrap();
    // Only sending is measured: a busy machine takes its time to make what is sent.
    let limited = [model.records(0, 16), model.records(0, 16), model.records(0, 16)];
    let unlimited: Vec<_> = (0..16).map(|_| model.records(1, 16)).collect();
    let start = Instant::now();
    for records in limited {
        session.send(0, records).await.unwrap();
    }
    // 3 × 256 KiB at the least, at 256 KiB/s, the first one free.
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
    rate.set(None);
    let start = Instant::now();
    for records in unlimited {
        session.send(1, records).await.unwrap();
    }
    // At that limit these would take 15 seconds at the least.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    model.seal(&mut session).await.unwrap();
    site.memory.with(MACHINE, |replica| assert_eq!(replica.content, model.content));
    assert_eq!(session.welcome().session.0, 1);
    site.stop().await;
}

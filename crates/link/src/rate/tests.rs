//! The limit under a clock that the tests turn.

use super::*;

const MIB: u64 = 1024 * 1024;

#[test]
fn the_long_run_rate_is_the_one_set() {
    let mut bucket = Bucket { rate: Some(10 * MIB), ..Bucket::default() };
    let (mut now, mut sent) = (Duration::ZERO, 0);
    while now < Duration::from_secs(10) {
        match bucket.take(MIB, now) {
            Ok(()) => sent += MIB,
            Err(wait) => now += wait,
        }
    }
    assert!((98 * MIB..=102 * MIB).contains(&sent), "{sent}");
}

#[test]
fn idle_time_is_not_saved_up() {
    let mut bucket = Bucket { rate: Some(MIB), ..Bucket::default() };
    let now = Duration::from_secs(3600);
    assert_eq!(bucket.take(MIB, now), Ok(()));
    let wait = bucket.take(1, now).unwrap_err();
    assert!(wait >= Duration::from_secs(1) - BURST, "{wait:?}");
}

#[test]
fn what_is_due_is_converted_when_the_rate_changes() {
    let mut bucket = Bucket { rate: Some(MIB), paid_at: Duration::from_secs(10) };
    bucket.set(Some(10 * MIB), Duration::ZERO);
    assert_eq!(bucket.take(1, Duration::ZERO), Err(Duration::from_secs(1)));
    bucket.set(None, Duration::ZERO);
    assert_eq!(bucket.take(u64::MAX, Duration::ZERO), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn clones_share_one_limit() {
    let limit = RateLimit::new(Some(MIB));
    let start = Instant::now();
    let senders = (0..4).map(|_| {
        let limit = limit.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                limit.take(MIB).await;
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    let took = start.elapsed();
    assert!((Duration::from_secs(18)..Duration::from_secs(21)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_sender_feels_a_change_at_once() {
    let limit = RateLimit::new(Some(1));
    limit.take(1_000_000).await;
    let start = Instant::now();
    let waiting = tokio::spawn({
        let limit = limit.clone();
        async move { limit.take(1).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!waiting.is_finished());
    limit.set(None);
    waiting.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(6));
}

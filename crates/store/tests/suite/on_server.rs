//! What can go wrong with a database server, and only with one.

use std::time::Duration;

use farshore_store::{Bug, Changes, Expect, LearnReason, Options, RowId, Store, StoreError, Wait};
use tokio::time::{Instant, sleep, timeout};

use crate::{place::Place, proxy::Proxy, server::Server, trouble::put};

/// Ends the store's sessions of one kind behind its back.
async fn end_sessions(place: &Place, name: &str) {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = '{name}' AND datname = current_database()"
    );
    place.by_hand(&sql).await;
}

/// Commits, again while the answer is that it may work later.
async fn commit_in_time(store: &Store, key: &str) {
    let began = Instant::now();
    loop {
        match store.commit(put(key, Expect::Absent)).await {
            Ok(_) => return,
            Err(error) => {
                assert!(error.is_temporary() && began.elapsed() < Duration::from_secs(30), "{error}");
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn the_second_waits_and_takes_over(place: Place) {
    let (first, _) = place.open().await;
    first.commit(put("a", Expect::Absent)).await.unwrap();
    let other = place.clone();
    let forever = Options { wait: Wait::Forever, ..Options::default() };
    let mut second = tokio::spawn(async move { other.open_with(forever).await.unwrap() });
    assert!(timeout(Duration::from_secs(1), &mut second).await.is_err(), "it waits");
    let short = Options { wait: Wait::AtMost(Duration::from_millis(700)), ..Options::default() };
    assert!(matches!(place.open_with(short).await, Err(StoreError::Held { .. })));
    first.commit(put("b", Expect::Absent)).await.unwrap();
    first.close().await;
    let (second, loaded) = timeout(Duration::from_secs(10), second).await.unwrap().unwrap();
    assert_eq!((loaded.rows.len(), loaded.fence, loaded.learn), (2, 2, None));
    second.commit(put("c", Expect::Absent)).await.unwrap();
}

/// Whether one that lost its lock without noticing is kept from writing.
async fn fence_holds(place: &Place, bug: Option<Bug>) -> bool {
    let hour = Duration::from_secs(3600);
    let unaware = Options { heartbeat_every: hour, bug, ..Options::default() };
    let (first, _) = place.open_with(unaware).await.unwrap();
    commit_in_time(&first, &format!("before {bug:?}")).await;
    end_sessions(place, "farshore lock").await;
    let wait = Options { wait: Wait::AtMost(Duration::from_secs(10)), ..Options::default() };
    let (second, loaded) = place.open_with(wait.clone()).await.unwrap();
    commit_in_time(&second, &format!("second {bug:?}")).await;
    let late = first.commit(put(&format!("late {bug:?}"), Expect::Absent)).await;
    first.close().await;
    second.close().await;
    let (third, after) = place.open_with(wait).await.unwrap();
    third.close().await;
    let kept_out = after.rows.len() == loaded.rows.len() + 1;
    assert_eq!(kept_out, matches!(late, Err(StoreError::Superseded { .. })));
    kept_out
}

async fn one_that_lost_its_lock_unnoticed_writes_nothing(place: Place) {
    assert!(fence_holds(&place, None).await);
    assert!(!fence_holds(&place, Some(Bug::NoFence)).await, "without the fence this would not be seen");
}

async fn a_lost_lock_is_noticed_and_got_back(place: Place) {
    let options = Options { heartbeat_every: Duration::from_millis(100), ..Options::default() };
    let (store, _) = place.open_with(options).await.unwrap();
    end_sessions(&place, "farshore lock").await;
    let began = Instant::now();
    while store.figures().reconnects == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "not noticed");
        sleep(Duration::from_millis(50)).await;
    }
    commit_in_time(&store, "a").await;
    assert!(matches!(place.open_with(Options::default()).await, Err(StoreError::Held { .. })));
}

async fn a_lost_connection_is_made_anew(place: Place) {
    let (store, _) = place.open().await;
    for round in 0..3 {
        end_sessions(&place, "farshore").await;
        commit_in_time(&store, &round.to_string()).await;
        assert!(store.events(&farshore_store::EventQuery { limit: 1, ..Default::default() }).await.is_ok());
    }
    assert!(store.figures().reconnects >= 1);
    store.close().await;
    assert_eq!(place.open().await.1.rows.len(), 3);
}

/// Whether every caller is told the truth, though the connection breaks in the moment of
/// many commits.
async fn broken_commits_are_told_as_they_are(place: &Place, bug: Option<Bug>) -> bool {
    let proxy = Proxy::start(&place.file(&format!("proxy{bug:?}")), &place.text);
    let through = place.by(&proxy.text);
    let (store, before) = through.open_with(Options { bug, ..Options::default() }).await.unwrap();
    proxy.cut_commits();
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let (store, base) = (store.clone(), format!("{bug:?}/{caller}"));
            tokio::spawn(async move {
                let mut outcomes = Vec::new();
                for turn in 0..15 {
                    let key = format!("{base}/{turn}");
                    outcomes.push((key.clone(), store.commit(put(&key, Expect::Absent)).await));
                    // So that not all of them come while the connection is away.
                    sleep(Duration::from_millis(20)).await;
                }
                outcomes
            })
        })
        .collect();
    let mut written: Vec<_> = before.rows.into_iter().map(|row| (row.id, row.version)).collect();
    let mut truth = true;
    for caller in callers {
        for (key, outcome) in caller.await.unwrap() {
            match outcome {
                Ok(version) => written.push((RowId::new("policy", key), version)),
                Err(error) => truth &= matches!(error, StoreError::Unavailable { .. }),
            }
        }
    }
    store.close().await;
    let options = Options { wait: Wait::AtMost(Duration::from_secs(20)), ..Options::default() };
    let (store, loaded) = place.open_with(options).await.unwrap();
    store.close().await;
    let found: Vec<_> = loaded.rows.into_iter().map(|row| (row.id, row.version)).collect();
    written.sort();
    let cuts = proxy.cuts();
    assert!(bug.is_some() || cuts.iter().all(|cuts| *cuts > 0), "{cuts:?} cut before, after, late");
    truth && found == written
}

async fn commit_broken_off(place: Place) {
    assert!(broken_commits_are_told_as_they_are(&place, None).await);
    let caught = !broken_commits_are_told_as_they_are(&place, Some(Bug::BelieveFirstLook)).await;
    assert!(caught, "a commit that comes late would not be seen");
}

async fn refusals_say_what_to_do(place: Place) {
    place.by_hand("CREATE ROLE weak LOGIN").await;
    let weak = place.by(&place.text.replace("farshore@", "weak@"));
    let error = weak.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Permission { .. }), "{error}");
    assert!(error.to_string().contains("create tables"), "{error}");
    place.by_hand("DROP ROLE weak").await;
    let missing = place.by(&place.text.replace("/refusals", "/missing"));
    let error = missing.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert!(error.to_string().contains("does not exist"), "{error}");
    let gone = place.by(&place.text.replace("host=", "host=/nowhere"));
    let error = gone.open_with(Options::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }) && error.is_temporary(), "{error}");
}

async fn a_server_of_another_history_makes_the_vault_learn(place: Place) {
    let (store, loaded) = place.open().await;
    assert_eq!(loaded.learn, None);
    store.close().await;
    place.by_hand("UPDATE store_head SET timeline = '0000000A'").await;
    let (store, loaded) = place.open().await;
    assert_eq!(loaded.learn.map(|learn| learn.reason), Some(LearnReason::DatabaseFailedOver));
    store.close().await;
    let (store, loaded) = place.open().await;
    assert!(loaded.learn.is_some(), "the mark stays until the vault has learned");
    store.commit(put("a", Expect::Absent).learned()).await.unwrap();
    store.close().await;
    let (_, loaded) = place.open().await;
    assert_eq!(loaded.learn, None);
}

#[test]
fn what_only_a_server_can_do_wrong_is_withstood() {
    let server = Server::start();
    let run = |scenario: crate::Scenario, name: &str| crate::run(scenario, server.place(name));
    run(|place| Box::pin(the_second_waits_and_takes_over(place)), "second");
    run(|place| Box::pin(one_that_lost_its_lock_unnoticed_writes_nothing(place)), "fence");
    run(|place| Box::pin(a_lost_lock_is_noticed_and_got_back(place)), "lock");
    run(|place| Box::pin(a_lost_connection_is_made_anew(place)), "connection");
    run(|place| Box::pin(a_server_of_another_history_makes_the_vault_learn(place)), "history");
    run(|place| Box::pin(refusals_say_what_to_do(place)), "refusals");
}

#[test]
fn a_commit_that_broke_off_is_told_as_it_is() {
    let server = Server::start();
    crate::run(|place| Box::pin(commit_broken_off(place)), server.place("cuts"));
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_waited_for() {
    let mut server = Server::start();
    let place = server.place("restarts");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (store, _) = runtime.block_on(place.open());
    let mut written = 0;
    for round in 0..3 {
        runtime.block_on(commit_in_time(&store, &round.to_string()));
        server.kill();
        // The server's other processes live on for a moment, and may even commit.
        let error = loop {
            let changes = Changes::new().put(RowId::new("x", "x"), Expect::Anything, "x");
            match runtime.block_on(store.commit(changes)) {
                Ok(_) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => break error,
            }
        };
        assert!(error.is_temporary() && error.to_string().contains("try again in"), "{error}");
        server.start_again();
        runtime.block_on(commit_in_time(&store, &format!("{round} again")));
        written += 2;
    }
    runtime.block_on(store.close());
    let (_, loaded) = runtime.block_on(place.open());
    assert_eq!(loaded.rows.iter().filter(|row| row.id.kind == "policy").count(), written);
}

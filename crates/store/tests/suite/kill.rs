//! A process that writes and is killed at a random instant: every transaction that it was
//! told is written is there afterwards, whole, and nothing is there in part.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use farshore_store::{Bug, Changes, EventQuery, Expect, From, Options, Row, RowId, Sample, Store, Wait};

use crate::{place::Place, server::Server};

/// Tasks that write at once.
const TASKS: u64 = 8;
/// What a child is told: where to write.
const PLACE: &str = "FARSHORE_TEST_STORE";
/// And whether it is to go wrong.
const BUG: &str = "FARSHORE_BUG";
/// A killed child's sessions live on for a moment.
const WAIT: Wait = Wait::AtMost(Duration::from_secs(30));

fn row(task: u64) -> RowId {
    RowId::new("count", task.to_string())
}

fn number(row: &Row) -> u64 {
    String::from_utf8_lossy(&row.body).parse().unwrap()
}

#[test]
#[ignore = "started by the tests that kill it"]
fn child() {
    let Ok(text) = std::env::var(PLACE) else { return };
    let bug = std::env::var(BUG).is_ok().then_some(Bug::AckBeforeCommit);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let location = farshore_store::Location::parse(&text).unwrap();
        let options =
            Options { bug, wait: WAIT, flush_every: Duration::from_millis(50), ..Options::default() };
        let (store, loaded) = Store::open(location, options).await.unwrap();
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let found = loaded.rows.iter().find(|found| found.id == row(task)).cloned();
                tokio::spawn(count_up(store.clone(), task, found))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Counts up in a row and appends an event, in one transaction, for ever.
async fn count_up(store: Store, task: u64, found: Option<Row>) {
    let mut value = found.as_ref().map_or(0, number);
    let mut expect = found.map_or(Expect::Absent, |row| Expect::At(row.version));
    loop {
        value += 1;
        let text = value.to_string();
        let changes =
            Changes::new().put(row(task), expect, text.clone()).event("count", task.to_string(), value, text);
        let version = store.commit(changes).await.unwrap();
        expect = Expect::At(version);
        let subject = task.to_string();
        store.note(Sample { series: "counts".into(), subject, at_ms: value, body: "x".into() }).unwrap();
        println!("ack {task} {value}");
    }
}

/// Lets a child write, kills it, and returns the last number that each task was told is
/// written.
fn killed_child(place: &Place, millis: u64, bug: bool) -> HashMap<u64, u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::child", "--ignored", "--nocapture"]).env(PLACE, &place.text);
    if bug {
        command.env(BUG, "AckBeforeCommit");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = HashMap::new();
    let mut killed = false;
    let mut note = |line: &str| {
        let mut words = line.split_whitespace();
        let numbers = (words.next(), words.next().map(str::parse), words.next().map(str::parse));
        if let (Some("ack"), Some(Ok(task)), Some(Ok(value))) = numbers {
            acknowledged.insert(task, value);
            return true;
        }
        false
    };
    while let Some(Ok(line)) = lines.next() {
        // Nothing is killed before it began; then at any instant, not at one between lines.
        if note(&line) && !killed {
            killed = true;
            let pid = nix::unistd::Pid::from_raw(child.id() as i32);
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(millis));
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            });
        }
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself: {status}");
    acknowledged
}

/// What is wrong with what the child left behind.
async fn fault_in(place: &Place, acknowledged: &HashMap<u64, u64>) -> Option<String> {
    let options = Options { wait: WAIT, ..Options::default() };
    let (store, loaded) = place.open_with(options).await.unwrap();
    let mut fault = None;
    for task in 0..TASKS {
        let stored = loaded.rows.iter().find(|found| found.id == row(task)).map_or(0, number);
        let told = acknowledged.get(&task).copied().unwrap_or_default();
        if stored < told {
            fault = Some(format!("task {task} was told that {told} is written, and {stored} is there"));
        }
        let mut events = Vec::new();
        let mut from = From::Newest;
        loop {
            let subject = Some(task.to_string());
            let page = store
                .events(&EventQuery { subject, from, limit: 5_000, ..EventQuery::default() })
                .await
                .unwrap();
            let Some(last) = page.last() else { break };
            from = From::Before(last.id);
            events.extend(page.iter().map(|event| event.at_ms));
        }
        if !events.iter().copied().eq((1..=stored).rev()) {
            fault = Some(format!("task {task} has {stored} in its row and {} events", events.len()));
        }
    }
    store.close().await;
    fault
}

/// Kills children until one leaves something wrong behind, at most `rounds` of them.
fn kill_rounds(place: &Place, rounds: u64, bug: bool) -> Option<String> {
    let given = std::env::var("FARSHORE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed: u64 = given.unwrap_or_else(|| std::process::id().into());
    println!("FARSHORE_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut told: HashMap<u64, u64> = HashMap::new();
    (0..rounds).find_map(|round| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        told.extend(killed_child(place, (seed >> 33) % 250, bug));
        let fault = runtime.block_on(fault_in(place, &told));
        fault.map(|fault| format!("round {round}: {fault}"))
    })
}

#[test]
fn an_acknowledged_transaction_survives_a_kill_on_sqlite() {
    assert_eq!(kill_rounds(&Place::sqlite(), 12, false), None);
}

#[test]
fn an_acknowledged_transaction_survives_a_kill_on_postgresql() {
    let server = Server::start();
    assert_eq!(kill_rounds(&server.place("kills"), 8, false), None);
}

#[test]
fn acknowledging_before_the_commit_would_be_caught() {
    let fault = kill_rounds(&Place::sqlite(), 30, true);
    assert!(fault.is_some(), "the kills do not see a transaction that is acknowledged too early");
}

//! A proxy on loopback that cuts TLS connections at chosen bytes: closes, resets, stalls.

use std::sync::{Arc, Mutex};

use farshore_link::{Endpoint, SessionOptions};
use farshore_wire::{CycleKind, limits::WINDOW_MIN};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::world::{EPOCH, HASTY, MACHINE, Model, Site};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Close,
    Reset,
    Stall,
}

/// How a connection ends: after so many bytes from the source, in this way.
type Plan = (usize, Kind);

/// Cuts connections as planned, then lets all pass. Connections end when it is dropped.
struct Proxy {
    address: String,
    left: Arc<Mutex<Vec<Plan>>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    async fn before(target: String, plans: Vec<Plan>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let left = Arc::new(Mutex::new(plans));
        let (plans, mut tasks) = (Arc::clone(&left), JoinSet::new());
        tasks.spawn(async move {
            let mut relays = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let Ok(far) = TcpStream::connect(&target).await else { continue };
                let plan = plans.lock().unwrap().pop();
                relays.spawn(relay(near, far, plan));
            }
        });
        Proxy { address, left, _tasks: tasks }
    }
}

async fn relay(near: TcpStream, far: TcpStream, plan: Option<Plan>) {
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
        (tokio::io::split(near), tokio::io::split(far));
    let limit = plan.map_or(usize::MAX, |(bytes, _)| bytes);
    let forth = async {
        let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
        while passed < limit {
            let room = buffer.len().min(limit - passed);
            match near_in.read(&mut buffer[..room]).await {
                Ok(n) if n > 0 && far_out.write_all(&buffer[..n]).await.is_ok() => passed += n,
                _ => return false,
            }
        }
        true
    };
    let back = tokio::io::copy(&mut far_in, &mut near_out);
    let reached = tokio::select! { reached = forth => reached, _ = back => false };
    match plan.filter(|_| reached) {
        // Nothing moves and nothing is closed until the test is over.
        Some((_, Kind::Stall)) => std::future::pending().await,
        Some((_, Kind::Reset)) => {
            for stream in [near_in.unsplit(near_out), far_in.unsplit(far_out)] {
                stream.set_zero_linger().unwrap();
            }
        }
        Some((_, Kind::Close)) | None => {}
    }
}

/// Runs three cycles through the plans; everything arrives, and little of it twice.
async fn heals(plans: Vec<Plan>) {
    let (told, cuts) = (format!("{plans:?}"), plans.len() as u64);
    let site = Site::start(HASTY).await;
    let proxy = Proxy::before(site.address.clone(), plans).await;
    let endpoint = Endpoint { address: proxy.address.clone(), ..site.endpoint() };
    let options = SessionOptions { timing: HASTY, ..SessionOptions::default() };
    let mut session = loop {
        match site.connect_at(&endpoint, EPOCH, options.clone()).await {
            Ok(session) => break session,
            Err(error) => assert!(error.is_recoverable(), "{told}: {error}"),
        }
    };
    let mut model = Model::default();
    for kind in [CycleKind::Initial, CycleKind::Delta, CycleKind::Resync] {
        model.run(&mut session, kind, 12).await.unwrap_or_else(|e| panic!("{told}: {e}"));
    }
    site.memory.with(MACHINE, |replica| {
        assert_eq!(replica.content, model.content, "{told}");
        assert_eq!(replica.sealed.len(), 3, "{told}");
    });
    assert!(proxy.left.lock().unwrap().is_empty(), "{told}: every cut happened");
    // About 0.4 MB per call to send, 36 calls.
    let appended = site.memory.knobs(|knobs| knobs.appended_bytes);
    assert!(appended < 36 * 800_000 + cuts * u64::from(WINDOW_MIN), "{told}: {appended}");
    session.bye().await.unwrap();
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_are_healed_wherever_they_are_cut() {
    heals(vec![(1, Kind::Close), (700, Kind::Close)]).await;
    heals((1..8).map(|i| (3_000 + i * 333_337, Kind::Close)).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reset_connections_are_healed_wherever_they_are_cut() {
    heals((1..8).map(|i| (2_500 + i * 271_829, Kind::Reset)).collect()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_connections_are_healed_after_the_idle_deadline() {
    heals(vec![(2_000_000, Kind::Stall), (700_001, Kind::Stall)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_that_the_target_forgot_is_lost_and_runs_again() {
    let site = Site::start(HASTY).await;
    let proxy = Proxy::before(site.address.clone(), vec![(6_000_000, Kind::Close)]).await;
    let endpoint = Endpoint { address: proxy.address.clone(), ..site.endpoint() };
    let options = SessionOptions { timing: HASTY, ..SessionOptions::default() };
    let mut session = site.connect_at(&endpoint, EPOCH, options).await.unwrap();
    site.memory.knobs(|knobs| knobs.forgetful = true);
    let error = Model::default().run(&mut session, CycleKind::Initial, 40).await.unwrap_err();
    assert!(error.is_recoverable() && error.to_string().contains("lost cycle 1"), "{error}");
    let mut model = Model::default();
    model.run(&mut session, CycleKind::Initial, 5).await.unwrap();
    site.memory.with(MACHINE, |replica| assert_eq!(replica.content, model.content));
    site.stop().await;
}

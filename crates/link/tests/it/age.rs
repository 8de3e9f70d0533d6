//! How old a point is for the target, over a line that takes its time.

use std::time::Duration;

use farshore_link::{Endpoint, SessionOptions, Timing};
use farshore_wire::CycleKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::world::{EPOCH, MACHINE, Model, Site};

/// How long each piece is on its way, either way.
const LATENCY: Duration = Duration::from_millis(60);

/// Where a line to `target` begins that takes [`LATENCY`] for every piece.
async fn slow_line(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&target).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (split(near), split(far));
            tokio::spawn(carry(near_in, far_out));
            tokio::spawn(carry(far_in, near_out));
        }
    });
    address
}

async fn carry(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        sleep(LATENCY).await;
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
    to.shutdown().await.ok();
}

#[tokio::test]
async fn a_point_is_told_to_be_no_younger_than_it_is_when_its_seal_arrives() {
    let site = Site::start(Timing::default()).await;
    let line = Endpoint { address: slow_line(site.address.clone()).await, ..site.endpoint() };
    let mut session = site.connect_at(&line, EPOCH, SessionOptions::default()).await.unwrap();
    let mut model = Model::default();
    // Sealed at the very instant that it shows: all of its age is the way.
    model.run(&mut session, CycleKind::Initial, 1).await.unwrap();
    let latency = u64::try_from(LATENCY.as_millis()).unwrap();
    let told = site.memory.with(MACHINE, |replica| replica.sealed[0].2);
    assert!(told >= latency, "{told} ms, and the way alone took {latency}");
    session.ping().await.unwrap();
    model.run(&mut session, CycleKind::Delta, 1).await.unwrap();
    assert!(site.memory.with(MACHINE, |replica| replica.sealed[1].2) >= latency);
    drop(session);
    site.stop().await;
}

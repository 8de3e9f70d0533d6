//! Peers that are slow, large or many.

use std::time::Duration;

use farshore_channel::{
    Call, ChannelError, Client, Listener,
    limits::{BODY_MAX, BODY_TIME_MAX, HANDSHAKE_MAX, HEAD_MAX, PER_MEMBER_MAX, STRANGERS_PER_ADDRESS_MAX},
};
use farshore_pki::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::world::{SITE, World, raw, router, until_closed};

const SOON: Duration = Duration::from_secs(4);

async fn echo(client: &Client) -> Result<String, ChannelError> {
    client.post("/echo", &"hello", Call::once()).await
}

#[tokio::test]
async fn who_sends_its_head_byte_by_byte_is_cut_off_and_holds_up_nobody() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let mut slow = raw(serving.address(), Some(&world.credentials(Role::Host, 9))).await;
    slow.write_all(b"GET /whoami HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(slow);
    let drip = tokio::spawn(async move {
        while writer.write_all(b"a: b\r\n").await.is_ok() && writer.flush().await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    echo(&world.client(&serving, 10)).await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(HEAD_MAX + SOON, reader.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "a slow head is given up");
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    drip.abort();
}

#[tokio::test]
async fn who_does_not_shake_hands_is_cut_off() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let mut mute = TcpStream::connect(serving.address()).await.unwrap();
    let mut rest = Vec::new();
    assert!(timeout(HANDSHAKE_MAX + SOON, mute.read_to_end(&mut rest)).await.is_ok());
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let mut slow = raw(serving.address(), Some(&world.credentials(Role::Host, 9))).await;
    slow.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n\"half").await.unwrap();
    let answer = until_closed(&mut slow, BODY_TIME_MAX + SOON).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too-slow"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_at_once() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let mut large = raw(serving.address(), Some(&world.credentials(Role::Host, 9))).await;
    let head = format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", BODY_MAX + 1);
    large.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(SOON, large.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_only_grows_is_refused_at_the_limit() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let large = raw(serving.address(), Some(&world.credentials(Role::Host, 9))).await;
    let (mut reader, mut writer) = tokio::io::split(large);
    let writing = tokio::spawn(async move {
        let head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut sent = writer.write_all(head).await;
        let chunk = [b"100000\r\n".as_slice(), &vec![b'a'; 1 << 20], b"\r\n"].concat();
        for _ in 0..=BODY_MAX >> 20 {
            sent = sent.and(writer.write_all(&chunk).await);
        }
        let _ = writer.flush().await;
        sleep(SOON).await;
    });
    let mut answer = [0; 12];
    timeout(Duration::from_secs(15), reader.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    writing.abort();
}

#[tokio::test]
async fn a_client_does_not_even_send_what_is_too_large() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let text = "a".repeat(BODY_MAX);
    let error = world.client(&serving, 9).post::<String>("/echo", &text, Call::once()).await.unwrap_err();
    assert!(matches!(error, ChannelError::Unusable { .. }), "{error}");
    let text = "a".repeat(BODY_MAX - 2);
    assert_eq!(
        world.client(&serving, 9).post::<String>("/echo", &text, Call::once()).await.unwrap().len(),
        text.len()
    );
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let mut large = raw(serving.address(), Some(&world.credentials(Role::Host, 9))).await;
    let head = format!("GET /whoami HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(64 * 1024));
    let _ = large.write_all(head.as_bytes()).await;
    let answer = until_closed(&mut large, SOON).await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn half_open_connections_never_keep_their_own_member_out() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let own = world.credentials(Role::Host, 9);
    let mut open = Vec::new();
    for _ in 0..=PER_MEMBER_MAX {
        let mut stream = raw(serving.address(), Some(&own)).await;
        stream.write_all(b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        open.push(stream);
        sleep(Duration::from_millis(20)).await;
    }
    until_closed(&mut open[0], SOON).await;
    echo(&world.client(&serving, 9)).await.unwrap();
    let mut byte = [0];
    let last = timeout(Duration::from_millis(500), open[PER_MEMBER_MAX].read(&mut byte)).await;
    assert!(last.is_err(), "the newest stay open");
}

#[tokio::test]
async fn strangers_of_one_address_cannot_take_all_places() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let listener = Listener::bind("127.0.0.1:0", keyring, router()).await.unwrap();
    let serving = listener.open_to_strangers(axum::Router::new()).serve().unwrap();
    let mut open = Vec::new();
    for _ in 0..STRANGERS_PER_ADDRESS_MAX {
        open.push(raw(serving.address(), None).await);
    }
    let mut more = TcpStream::connect(serving.address()).await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(SOON, more.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "one too many");
    drop(open);
    sleep(Duration::from_millis(300)).await;
    echo(&world.client(&serving, 9)).await.unwrap();
}

#[tokio::test]
async fn a_stranger_reaches_nothing_but_what_is_for_strangers() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let request = b"GET /whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let listener = Listener::bind("127.0.0.1:0", keyring.clone(), router()).await.unwrap();
    let open = listener.open_to_strangers(axum::Router::new()).serve().unwrap();
    let mut stream = raw(open.address(), None).await;
    stream.write_all(request).await.unwrap();
    let answer = until_closed(&mut stream, SOON).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("certificate-required"), "{answer}");

    let closed = world.listen(&keyring).await;
    let mut stream = raw(closed.address(), None).await;
    let _ = stream.write_all(request).await;
    let answer = until_closed(&mut stream, SOON).await;
    assert!(answer.contains("CertificateRequired"), "{answer}");
}

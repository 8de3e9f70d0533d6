//! Calls that are tried again, and those that are not.

use std::time::{Duration, Instant};

use farshore_channel::{Call, ChannelError, Client, Listener};
use farshore_pki::{Identity, Role};

use crate::world::{SITE, World, free_address, router, site};

#[tokio::test]
async fn a_call_is_tried_again_while_the_server_cannot_answer() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let client = world.client(&serving, 9);
    let error = client.get::<usize>("/third", Call::once()).await.unwrap_err();
    assert!(error.is_recoverable() && error.code() == Some("unavailable"), "{error}");
    assert_eq!(client.get::<usize>("/third", Call::default()).await.unwrap(), 2);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let serving = world.listen_for_long(&keyring).await;
    let (client, address) = (world.client(&serving, 9), serving.address().to_string());
    client.get::<serde_json::Value>("/whoami", Call::once()).await.unwrap();
    serving.stop().await;
    let error = client.get::<serde_json::Value>("/whoami", Call::once()).await.unwrap_err();
    assert!(matches!(error, ChannelError::Unreachable { .. }) && error.is_recoverable(), "{error}");
    assert!(error.advice().contains("address and port"));
    let router = crate::world::router();
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let listener = farshore_channel::Listener::bind(&address, keyring.clone(), router).await.unwrap();
        listener.serve().unwrap()
    };
    let call = Call { attempts: 8, ..Call::default() };
    let (answer, _serving) = tokio::join!(client.get::<serde_json::Value>("/whoami", call), back);
    answer.unwrap();
}

#[tokio::test]
async fn a_connection_that_went_stale_while_idle_costs_no_attempt() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let serving = world.listen_for_long(&keyring).await;
    let (client, address) = (world.client(&serving, 9), serving.address().to_string());
    client.get::<serde_json::Value>("/whoami", Call::single()).await.unwrap();
    serving.stop().await;
    let router = crate::world::router();
    let listener = farshore_channel::Listener::bind(&address, keyring, router).await.unwrap();
    let _serving = listener.serve().unwrap();
    client.get::<serde_json::Value>("/whoami", Call::single()).await.unwrap();
}

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let client = world.client(&serving, 9);
    let mut ports = std::collections::BTreeSet::new();
    for _ in 0..5 {
        ports.insert(client.get::<u16>("/port", Call::single()).await.unwrap());
    }
    assert_eq!(ports.len(), 1);
    ports.insert(client.get::<u16>("/port", Call::once()).await.unwrap());
    assert_eq!(ports.len(), 2, "what must not happen twice gets its own");
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_up() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let begun = Instant::now();
    let call = Call { timeout: Duration::from_millis(400), attempts: 2, ..Call::default() };
    let error = world.client(&serving, 9).get::<String>("/later", call).await.unwrap_err();
    assert!(matches!(error, ChannelError::Timeout { .. }) && error.is_recoverable(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_answer_of_another_kind_is_named_and_not_tried_again() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let client = world.client(&serving, 9);
    let error = client.get::<u64>("/whoami", Call::default()).await.unwrap_err();
    assert!(matches!(error, ChannelError::Malformed { .. }) && !error.is_recoverable(), "{error}");
    let error = client.post::<String>("/echo", &17, Call::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("bad-request"), "{error}");
    let error = client.get::<u64>("/nowhere", Call::default()).await.unwrap_err();
    assert!(error.to_string().contains("does not know what was asked for"), "{error}");
}

#[tokio::test]
async fn what_is_no_farshore_server_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    });
    let client = Client::new(World::new().keyring(Role::Host, 9), &address, site());
    let error = client.get::<u64>("/whoami", Call::once()).await.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn a_peer_with_several_addresses_is_found_at_the_one_where_it_lives() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let dead = free_address();
    // It takes connections, as one does whose process is stopped, and says nothing.
    let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = world.listen(&keyring).await;
    let (hung_at, lives_at) = (hung.local_addr().unwrap(), serving.address());
    let all = format!("{dead}, {hung_at},{lives_at}");
    let client = Client::new(world.keyring(Role::Host, 7), &all, site());
    assert_eq!(client.get::<Identity>("/whoami", Call::single()).await.unwrap().id.as_u128(), 7);
    let port: u16 = client.get("/port", Call::single()).await.unwrap();
    assert_eq!(client.get::<u16>("/port", Call::single()).await.unwrap(), port, "it stays there");
    // Another process of the same peer takes over, at another address, while a question is held.
    let held = client.clone();
    let held = tokio::spawn(async move { held.get::<String>("/later", Call::default()).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(serving);
    let again = Listener::bind(&dead, keyring, router()).await.unwrap().serve().unwrap();
    assert_eq!(held.await.unwrap().unwrap(), "late");
    assert_eq!(client.get::<Identity>("/whoami", Call::default()).await.unwrap().id.as_u128(), 7);
    again.stop().await;
}

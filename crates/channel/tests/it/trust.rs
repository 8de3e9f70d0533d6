//! Who is believed, for how long, and what the other is told.

use std::time::{Duration, Instant};

use farshore_channel::{Call, ChannelError, Client, Expected, Keyring, Listener};
use farshore_pki::{Authority, Identity, Lifetime, PkiError, Role};
use tokio::time::timeout;
use uuid::Uuid;

use crate::world::{DAY, SITE, World, early, expired, identity, raw, router, site, until_closed};

/// Within which a revoked peer's connection must be closed.
const SECONDS: Duration = Duration::from_secs(3);
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

async fn whoami(client: &Client) -> Result<Identity, ChannelError> {
    client.get("/whoami", Call::once()).await
}

fn untrusted(error: &ChannelError) -> &str {
    let ChannelError::Untrusted { why, .. } = error else { panic!("{error:?}") };
    assert!(!error.is_recoverable() && !error.advice().is_empty());
    why
}

#[tokio::test]
async fn a_member_is_known_by_role_id_and_name() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    assert_eq!(whoami(&world.client(&serving, 9)).await.unwrap(), identity(Role::Host, 9));
    serving.stop().await;
}

#[tokio::test]
async fn a_member_of_another_authority_is_told_so() {
    let (world, other) = (World::new(), World::new());
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    // It believes the server, which does not believe it.
    let both = format!("{}{}", other.authority.cert_pem(), world.authority.cert_pem());
    let keyring = other.keyring(Role::Host, 9);
    keyring.replace_trust(&both, "").unwrap();
    let client = Client::new(keyring, &serving.address().to_string(), site());
    let error = whoami(&client).await.unwrap_err();
    assert!(untrusted(&error).contains("does not know the authority of this host's"), "{error}");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_believed() {
    let (world, other) = (World::new(), World::new());
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let client = Client::new(other.keyring(Role::Host, 9), &serving.address().to_string(), site());
    let error = whoami(&client).await.unwrap_err();
    assert!(untrusted(&error).contains("not signed by this vault's authority"), "{error}");
}

#[tokio::test]
async fn a_server_of_another_role_or_id_is_not_believed() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Host, SITE)).await;
    let error = whoami(&world.client(&serving, 9)).await.unwrap_err();
    assert!(untrusted(&error).contains("host member1.example"), "a host in place of a site server: {error}");
    let serving = world.listen(&world.keyring(Role::Site, 2)).await;
    let error = whoami(&world.client(&serving, 9)).await.unwrap_err();
    assert!(untrusted(&error).contains("where the site server 0000"), "another site: {error}");
    let any = Expected { role: Role::Site, id: None };
    let client = Client::new(world.keyring(Role::Host, 9), &serving.address().to_string(), any);
    whoami(&client).await.unwrap();
}

#[tokio::test]
async fn a_role_that_is_not_admitted_is_refused_and_told_why() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let listener = Listener::bind("127.0.0.1:0", keyring, router()).await.unwrap();
    let serving = listener.admit(&[Role::Vault]).serve().unwrap();
    let error = whoami(&world.client(&serving, 9)).await.unwrap_err();
    assert_eq!(error.code(), Some("wrong-role"), "{error}");
    assert!(error.to_string().contains("it is for vault"), "{error}");
}

#[tokio::test]
async fn a_handler_can_ask_for_a_role() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let error = world.client(&serving, 9).get::<u8>("/vault-only", Call::once()).await.unwrap_err();
    assert_eq!(error.code(), Some("wrong-role"));
}

#[tokio::test]
async fn a_certificate_without_a_role_does_not_get_past_the_handshake() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    let dir = tempfile::tempdir().unwrap();
    world.authority.issue("old.example", &[], Lifetime::starting_now(DAY)).unwrap().save(dir.path()).unwrap();
    let roleless = farshore_pki::Credentials::load(dir.path()).unwrap();
    let error = Keyring::new(roleless.clone()).unwrap_err();
    assert!(matches!(error, ChannelError::Own(PkiError::NoRole { .. })), "{error}");
    let mut stream = raw(serving.address(), Some(&roleless)).await;
    let end = until_closed(&mut stream, SECONDS).await;
    assert!(end.contains("CertificateUnknown"), "{end}");
}

#[tokio::test]
async fn dates_are_checked_on_both_sides_and_named() {
    let world = World::new();
    let serving = world.listen(&world.keyring(Role::Site, SITE)).await;
    for lifetime in [expired(), early()] {
        let mine = world.aged(Role::Host, 9, lifetime);
        let mut stream = raw(serving.address(), Some(&mine)).await;
        let end = until_closed(&mut stream, SECONDS).await;
        assert!(end.contains("CertificateExpired"), "{end}");
        let client = Client::new(Keyring::new(mine).unwrap(), &serving.address().to_string(), site());
        let error = whoami(&client).await.unwrap_err();
        let own = matches!(error, ChannelError::Own(PkiError::Expired { .. } | PkiError::NotYetValid { .. }));
        assert!(own, "known before it connects: {error}");
    }
    let old = world.listen(&Keyring::new(world.aged(Role::Site, SITE, expired())).unwrap()).await;
    let error = whoami(&world.client(&old, 9)).await.unwrap_err();
    assert!(untrusted(&error).contains("expired on 20"), "{error}");
    let new = world.listen(&Keyring::new(world.aged(Role::Site, SITE, early())).unwrap()).await;
    let error = whoami(&world.client(&new, 9)).await.unwrap_err();
    assert!(
        untrusted(&error).contains("not valid before 20") && error.advice().contains("clocks"),
        "{error}"
    );
}

#[tokio::test]
async fn a_revoked_member_is_cut_off_within_seconds_and_not_let_in_again() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let (serving, mut held) = world.listen_and_tell(&keyring).await;
    let (bad, good) = (world.client(&serving, 9), world.client(&serving, 10));
    whoami(&bad).await.unwrap();
    let waiting = tokio::spawn({
        let bad = bad.clone();
        async move { bad.get::<String>("/held", Call::held(DAY)).await }
    });
    let others = tokio::spawn(async move { good.get::<String>("/held", Call::held(DAY)).await });
    for _ in 0..2 {
        timeout(PATIENCE, held.recv()).await.expect("both calls come").unwrap();
    }
    let list = world.revoking(1, bad.keyring());
    let begun = Instant::now();
    assert!(keyring.replace_trust(world.authority.cert_pem(), &list).unwrap());
    let cut = timeout(SECONDS, waiting).await.expect("its open connection is closed").unwrap();
    // Over a connection that had been idle before, it has been tried again already.
    let ended = matches!(cut, Err(ChannelError::Broken { .. } | ChannelError::Untrusted { .. }));
    assert!(begun.elapsed() < SECONDS && ended, "{cut:?}");
    let error = whoami(&bad).await.unwrap_err();
    assert!(untrusted(&error).contains("this host's certificate was revoked"), "{error}");
    assert!(error.advice().contains("enrol"), "{error}");
    assert_eq!(others.await.unwrap().unwrap(), "late", "the others notice nothing");
}

#[tokio::test]
async fn a_revoked_server_is_left_while_a_call_is_under_way() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let (serving, mut held) = world.listen_and_tell(&keyring).await;
    let client = world.client(&serving, 9);
    let mine = client.keyring().clone();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get::<String>("/held", Call::held(DAY)).await }
    });
    timeout(PATIENCE, held.recv()).await.expect("the call comes").unwrap();
    mine.replace_trust(world.authority.cert_pem(), &world.revoking(1, &keyring)).unwrap();
    let error = timeout(SECONDS, waiting).await.expect("it is left").unwrap().unwrap_err();
    assert!(untrusted(&error).contains("not believed any more"), "{error}");
    let error = whoami(&client).await.unwrap_err();
    assert!(untrusted(&error).contains("was revoked"), "idle connections are not used either: {error}");
}

#[tokio::test]
async fn trust_only_moves_forward() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let list = |number| world.authority.revocation_list(number, &[], std::time::SystemTime::now()).unwrap();
    let replace = |number| keyring.replace_trust(world.authority.cert_pem(), &list(number));
    replace(5).unwrap();
    let error = replace(4).unwrap_err();
    assert!(matches!(error, ChannelError::Own(PkiError::OlderList { held: 5, given: 4 })), "{error}");
    assert_eq!(keyring.revoked_number(), 5);
    let stranger = Authority::create("CA").unwrap();
    let error = keyring.replace_trust(stranger.cert_pem(), "").unwrap_err();
    assert!(matches!(error, ChannelError::Own(_)), "not without the own authority: {error}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_dropping_listener_or_connections() {
    let world = World::new();
    let keyring = world.keyring(Role::Site, SITE);
    let (serving, mut held) = world.listen_and_tell(&keyring).await;
    let client = world.client(&serving, 9);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.get::<String>("/held", Call::held(DAY)).await }
    });
    timeout(PATIENCE, held.recv()).await.expect("the call comes").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let renewed = world.bundle(&identity(Role::Site, SITE), Lifetime::starting_now(DAY));
    renewed.save(dir.path()).unwrap();
    keyring.reload(dir.path()).unwrap();
    let stream = raw(serving.address(), Some(&world.credentials(Role::Host, 11))).await;
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    assert_eq!(shown, renewed.open("x".as_ref()).unwrap().cert_der);
    // The client's own, too.
    client.keyring().replace(world.credentials(Role::Host, 9)).unwrap();
    whoami(&client).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn authorities_change_without_anybody_being_locked_out() {
    let (old, new) = (World::new(), World::new());
    let both = format!("{}{}", old.authority.cert_pem(), new.authority.cert_pem());
    let keyring = old.keyring(Role::Site, SITE);
    let serving = old.listen(&keyring).await;
    let client = Client::new(new.keyring(Role::Host, 9), &serving.address().to_string(), site());
    assert!(whoami(&client).await.is_err());
    keyring.replace_trust(&both, "").unwrap();
    client.keyring().replace_trust(&both, "").unwrap();
    whoami(&client).await.unwrap();
}

#[tokio::test]
async fn trust_is_durable_before_it_is_in_force() {
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    world.bundle(&identity(Role::Host, 9), Lifetime::starting_now(DAY)).save(dir.path()).unwrap();
    let keyring = Keyring::load(dir.path()).unwrap();
    let list = world.authority.revocation_list(3, &[], std::time::SystemTime::now()).unwrap();
    assert!(keyring.store_trust(dir.path(), world.authority.cert_pem(), &list).unwrap());
    assert!(!keyring.store_trust(dir.path(), world.authority.cert_pem(), &list).unwrap(), "nothing new");
    assert_eq!(Keyring::load(dir.path()).unwrap().revoked_number(), 3);
    assert_eq!(keyring.identity().id, Uuid::from_u128(9));
}

//! Real desks with real stores, and real receivers on sockets: a mail server that speaks
//! SMTP, with and without TLS, and a program that checks signatures.

mod receivers;

use std::{path::Path, time::Duration};

use farshore_control::{report::Problem, sync::SiteReport};
use farshore_pki::{Authority, Lifetime};
use farshore_store::{Location, Options, Store};
use farshore_types::SiteId;
use farshore_vault::{Command, Core, Moment, Start};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::vault::{desk::Desk, moment_since, papers::Papers};
use receivers::{Hook, MailServer};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "between the vault and its pager";

struct World {
    dir: TempDir,
    desk: Desk,
    store: Store,
    stop: CancellationToken,
}

async fn open(dir: &Path, channels: &Channels) -> (Desk, Store, CancellationToken) {
    let place = Location::parse(&dir.join("vault.db").display().to_string()).unwrap();
    let (store, loaded) = Store::open(place, Options::default()).await.unwrap();
    let at = moment_since(std::time::Instant::now());
    let rows = loaded.rows.iter().map(|row| (row.id.kind.as_str(), row.id.key.as_str(), &row.body[..]));
    let mut core = match loaded.rows.is_empty() {
        true => Core::init(&at),
        false => Core::load(rows, Start::Continued, &at).unwrap(),
    };
    core.set_channels(channels.names());
    let stop = CancellationToken::new();
    let desk = Desk::open(core, Papers::default(), store.clone(), stop.clone());
    channels.run(&desk, &stop).await.unwrap();
    (desk, store, stop)
}

impl World {
    async fn new(channels: &Channels) -> World {
        let dir = tempfile::tempdir().unwrap();
        let (desk, store, stop) = open(dir.path(), channels).await;
        World { dir, desk, store, stop }
    }

    async fn restart(self, channels: &Channels) -> World {
        self.stop.cancel();
        self.store.close().await;
        let (desk, store, stop) = open(self.dir.path(), channels).await;
        World { dir: self.dir, desk, store, stop }
    }

    /// A site whose server complains for five minutes, as time goes here.
    async fn raise(&self, name: &str) {
        let add = Command::AddSite { name: name.to_owned(), ahead_minutes: 0 };
        let work = move |books: &mut crate::vault::desk::Books<'_>| {
            let begin = books.at;
            let site = SiteId(books.core.run(&add, None, &begin)?.id.unwrap());
            for secs in (0..300).step_by(5) {
                let ms = 1_000_000 + secs * 1000;
                let at = Moment { mono_ms: begin.mono_ms + ms, wall_ms: begin.wall_ms + ms, ..begin };
                let problem = Problem {
                    code: "vault-was-silent".to_owned(),
                    what: "it could not reach the vault".to_owned(),
                    advice: "look at the line".to_owned(),
                };
                let report = SiteReport {
                    site,
                    version: "1".to_owned(),
                    clock_ms: at.wall_ms,
                    transit_ms: 1,
                    problems: vec![problem],
                    hosts: Vec::new(),
                };
                books.core.site_report(&report, &at)?;
                books.core.watch_over(&at);
            }
            Ok(())
        };
        self.desk.change(work).await.unwrap();
    }

    async fn waiting(&self) -> usize {
        self.desk.look(|core, _, _| core.notices().count()).await.unwrap()
    }

    async fn until_sent(&self) {
        let begun = Instant::now();
        while self.waiting().await > 0 {
            assert!(begun.elapsed() < PATIENCE, "notices are not sent");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

fn write(dir: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn hook_config(files: &TempDir, hook: &Hook) -> WebhookConfig {
    WebhookConfig {
        name: Some("pager".to_owned()),
        url: format!("http://{}/alerts?team=dr", hook.address),
        secret_file: Some(write(files, "secret", &format!("{SECRET}\n"))),
        ..WebhookConfig::default()
    }
}

fn mail_config(server: &MailServer) -> EmailConfig {
    EmailConfig {
        server: "localhost".to_owned(),
        port: Some(server.address.port()),
        security: Security::Plain,
        from: "Farshore <vault@example.org>".to_owned(),
        to: vec!["ops@example.org".to_owned(), "boss@example.org".to_owned()],
        ..EmailConfig::default()
    }
}

#[tokio::test]
async fn an_alert_is_told_by_mail_and_by_a_signed_call_once() {
    let files = tempfile::tempdir().unwrap();
    let (mail, hook) = (MailServer::plain().await, Hook::new(SECRET).await);
    let config = AlertsConfig { email: Some(mail_config(&mail)), webhooks: vec![hook_config(&files, &hook)] };
    let channels = Channels::of(&config).unwrap();
    let world = World::new(&channels).await;
    world.raise("east").await;
    world.until_sent().await;
    let mails = mail.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(mails[0].to, ["<ops@example.org>", "<boss@example.org>"]);
    assert!(mails[0].text.contains("site 'east'") && mails[0].text.contains("look at the line"), "{mails:?}");
    let calls = hook.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].path.as_str(), calls[0].signed), ("/alerts?team=dr", true));
    assert_eq!(calls[0].body["event"], "raised");
    assert_eq!(calls[0].body["alert"]["code"], "vault-was-silent");
    assert_eq!(calls[0].id, calls[0].body["id"].as_str().unwrap());
    world.stop.cancel();
}

#[tokio::test]
async fn what_nobody_took_comes_again_with_the_same_id_also_after_a_restart() {
    let files = tempfile::tempdir().unwrap();
    let hook = Hook::new(SECRET).await;
    hook.refuse(1000);
    let config = AlertsConfig { email: None, webhooks: vec![hook_config(&files, &hook)] };
    let channels = Channels::of(&config).unwrap();
    let world = World::new(&channels).await;
    world.raise("east").await;
    let begun = Instant::now();
    while hook.calls().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.waiting().await, 1, "a call that was not taken is not forgotten");
    hook.refuse(0);
    let world = world.restart(&channels).await;
    world.until_sent().await;
    let calls = hook.calls();
    assert!(calls.len() >= 2 && calls.iter().all(|call| call.id == calls[0].id && call.signed), "{calls:?}");
    world.stop.cancel();
}

#[tokio::test]
async fn mail_goes_over_tls_with_a_password_and_to_nobody_else() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::create("Mail CA").unwrap();
    let lifetime = Lifetime::starting_now(Duration::from_secs(3600));
    let issued = authority.issue("localhost", &["127.0.0.1"], lifetime).unwrap();
    let ca_file = Some(write(&files, "ca.pem", authority.cert_pem()));
    let stranger = Authority::create("Another CA").unwrap();
    let wrong = Some(write(&files, "wrong.pem", stranger.cert_pem()));
    for security in [Security::Tls, Security::Starttls] {
        let mail = MailServer::with_tls(&issued, security == Security::Starttls).await;
        let config = EmailConfig {
            security,
            ca_file: ca_file.clone(),
            user: Some("vault".to_owned()),
            password_file: Some(write(&files, "password", "open sesame\n")),
            ..mail_config(&mail)
        };
        let tested = |config: EmailConfig| async move {
            let config = AlertsConfig { email: Some(config), webhooks: Vec::new() };
            Channels::of(&config).unwrap().test().await
        };
        let sent = tested(config.clone()).await;
        assert_eq!(sent[0].fault, None, "{security:?}");
        let mails = mail.mails();
        assert_eq!(mails[0].login.as_deref(), Some("\0vault\0open sesame"), "{security:?}");
        assert!(mails[0].text.contains("This is a test") && mails[0].over_tls, "{mails:?}");
        let refused = tested(EmailConfig { ca_file: wrong.clone(), ..config.clone() }).await;
        assert!(refused[0].fault.is_some(), "a server of another authority is not trusted");
        let missing = tested(EmailConfig { password_file: Some(files.path().join("none")), ..config }).await;
        assert!(missing[0].fault.as_ref().unwrap().contains("none"), "{missing:?}");
        assert_eq!(mail.mails().len(), 1);
    }
    // A server that offers no TLS gets nothing from who wants it.
    let plain = MailServer::plain().await;
    let config = EmailConfig { security: Security::Starttls, ..mail_config(&plain) };
    let tested =
        Channels::of(&AlertsConfig { email: Some(config), webhooks: Vec::new() }).unwrap().test().await;
    assert!(tested[0].fault.is_some() && plain.mails().is_empty(), "{tested:?}");
}

#[tokio::test]
async fn a_test_says_of_each_channel_what_happened() {
    let files = tempfile::tempdir().unwrap();
    let hook = Hook::new("another secret").await;
    let nobody = WebhookConfig { url: "http://127.0.0.1:9/".to_owned(), ..WebhookConfig::default() };
    let config = AlertsConfig { email: None, webhooks: vec![hook_config(&files, &hook), nobody] };
    let tested = Channels::of(&config).unwrap().test().await;
    assert_eq!(tested[0], Tested { channel: "pager".to_owned(), fault: None });
    assert!(tested[1].fault.as_ref().unwrap().contains("cannot connect"), "{tested:?}");
    assert!(!hook.calls()[0].signed, "by another secret it is not signed");
    let twice = AlertsConfig { email: None, webhooks: vec![hook_config(&files, &hook); 2] };
    assert!(Channels::of(&twice).is_err());
}

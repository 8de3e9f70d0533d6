//! The figures as Prometheus reads them, and what documents and the dashboard say of them.

use std::{fs, path::PathBuf};

use farshore_figures::document;
use farshore_store::{Location, Options, Store};
use farshore_types::HostId;
use farshore_vault::{Command, Core};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::vault::{desk::Desk, moment_since, papers::Papers};

fn file(path: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The text of a vault with a site, a host, and a request to its API.
async fn text() -> String {
    let dir = tempfile::tempdir().unwrap();
    let place = Location::parse(&dir.path().join("vault.db").display().to_string()).unwrap();
    let (store, _) = Store::open(place, Options::default()).await.unwrap();
    let core = Core::init(&moment_since(std::time::Instant::now()));
    let stop = CancellationToken::new();
    let desk = Desk::open(core, Papers::default(), store, stop.clone());
    let make = |books: &mut crate::vault::desk::Books<'_>| {
        let at = books.at;
        let add = Command::AddSite { name: "east".to_owned(), ahead_minutes: 0 };
        let site = farshore_types::SiteId(books.core.run(&add, None, &at)?.id.unwrap());
        let add = Command::AddCloud { site, name: "east".to_owned() };
        let cloud = farshore_types::CloudId(books.core.run(&add, None, &at)?.id.unwrap());
        let id = Some(HostId(at.id("host")));
        let (name, address) = ("e1".to_owned(), "e1:7411".to_owned());
        books.core.run(&Command::AddHost { id, cloud, name, address, principal: None }, None, &at)?;
        Ok(())
    };
    desk.change(make).await.unwrap();
    let labels =
        vec![("method", "GET".to_owned()), ("noun", "status".to_owned()), ("status", "2xx".to_owned())];
    desk.meters().requests.get_or_create(&labels).observe(0.002);
    let address = serve("127.0.0.1:0", &desk, &Standing::default(), &stop).await.unwrap();
    assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));
    let text = get(address, "/metrics").await;
    stop.cancel();
    text
}

/// Figures of this program: not of site servers and agents themselves.
fn ours(name: &str) -> bool {
    !name.starts_with("farshore_agent_") && !name.starts_with("farshore_site_server_")
}

#[tokio::test]
async fn what_the_dashboard_asks_for_and_the_documents_list_is_there() {
    let text = text().await;
    assert!(
        text.contains("200 OK") && text.contains("application/openmetrics-text") && text.ends_with("# EOF\n")
    );
    assert!(text.contains(r#"farshore_site_health{site="east"} 0"#), "{text}");
    assert!(text.contains(r#"farshore_host_health{host="e1",site="east"}"#), "{text}");
    assert!(
        text.contains(r#"farshore_api_request_seconds_count{method="GET",noun="status",status="2xx"} 1"#)
    );
    assert!(text.contains("farshore_vault_term") && !text.contains("token"));
    let (known, board) = (document::names(&text), file("packaging/grafana/farshore.json"));
    let board: serde_json::Value = serde_json::from_str(&board).unwrap();
    let mut asked = document::used(&board["panels"].to_string());
    asked.retain(|name| ours(name));
    assert!(asked.len() > 15 && asked.contains("farshore_jobs"), "{asked:?}");
    let lacking: Vec<&String> = asked.difference(&known).collect();
    assert!(lacking.is_empty(), "the dashboard asks for {lacking:?}");
    assert_eq!(document::faults(&file("docs/metrics.md"), &text, ours), Vec::<String>::new());
}

#[test]
fn the_documents_list_every_reason_as_it_is() {
    let document = file("docs/alerts.md");
    for reason in farshore_health::REASONS {
        let line = format!("| `{}` | {} | {} | {} |", reason.code, reason.of, reason.level, reason.when);
        assert!(document.contains(&line), "docs/alerts.md lacks:\n{line}");
    }
}

#[test]
fn five_thousand_protections_make_one_text() {
    let board = Board::new(|registry| Meters::default().register(registry));
    let figures =
        Figures { protections: (0..5000).map(figures::tests::protection).collect(), ..Figures::default() };
    let text = board.text(figures).unwrap();
    assert_eq!(text.matches("farshore_protection_rpo_seconds{").count(), 5000);
    assert!(
        text.contains(r#"farshore_protection_cycles_total{machine="m7",id="7"} 7.0"#),
        "{}",
        &text[..2000]
    );
    assert!(text.contains(r#"farshore_protection_rpo_seconds{machine="m7",id="7"} 0.007"#));
}

//! What is measured of a site server, for Prometheus. This module must never change anything.

use std::{fmt, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use farshore_figures::{
    Board, Def, Labels, Sheet, Source, flag, gauge, prometheus_client::encoding::DescriptorEncoder, secs,
    to_f64, write_all,
};
use farshore_site::{
    Server,
    server::{SiteFigures, SiteStatus},
};
use tokio_util::sync::CancellationToken;

use crate::ProgramError;

const SERVER: &[Def<One>] = &[
    gauge("site_server_uptime_seconds", "Seconds since the site server was started", |s| {
        Some(secs(s.figures.uptime_ms))
    }),
    gauge("site_server_term", "The term of the vault that the site server follows", |s| {
        s.status.term.map(to_f64)
    }),
    gauge("site_server_vault_answers", "Whether the vault answers: 1 it does, 0 it does not", |s| {
        Some(flag(s.status.vault_answers))
    }),
    gauge("site_server_vault_silent_seconds", "Seconds since the vault has answered", |s| {
        Some(secs(s.figures.vault_silent_ms))
    }),
    gauge("site_server_vault_round_trip_seconds", "Seconds of the last round trip with the vault", |s| {
        Some(secs(s.figures.vault_transit_ms))
    }),
    gauge("site_server_documents", "Documents of the vault that the site server holds", |s| {
        Some(to_f64(count(s.status.documents)))
    }),
    gauge("site_server_hosts", "Hosts that the site server listens to", |s| {
        Some(to_f64(count(s.status.hosts)))
    }),
    gauge(
        "site_server_copy_behind_seconds",
        "Seconds for which the vault may have changed without the site's warm copy",
        |s| s.status.copy.as_ref().map(|copy| secs(copy.behind_ms)),
    ),
    gauge("site_server_problems", "Problems that `farshore site status` shows", |s| {
        Some(to_f64(count(s.status.problems.len())))
    }),
    gauge(
        "site_server_certificate_end_timestamp_seconds",
        "When the site server's certificate ends, in seconds since 1970",
        |s| s.figures.certificate_until_ms.map(secs),
    ),
];

const HOST: &[Def<Silence>] =
    &[gauge("site_server_host_silent_seconds", "Seconds since a host has spoken to its site server", |h| {
        Some(secs(h.silent_ms))
    })];

struct One {
    site: String,
    status: SiteStatus,
    figures: SiteFigures,
}

struct Silence {
    host: String,
    silent_ms: u64,
}

impl Labels for One {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("site", &self.site), ("version", &self.status.version)]
    }
}

impl Labels for Silence {
    fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![("host", &self.host)]
    }
}

/// All of it at one instant.
#[derive(Debug, Default)]
struct Figures(SiteFigures);

impl Sheet for Figures {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let one = self.0.status.clone().map(|status| One {
            site: status.site.to_string(),
            status,
            figures: self.0.clone(),
        });
        let silence = |(id, silent_ms): &(farshore_types::HostId, u64)| Silence {
            host: id.to_string(),
            silent_ms: *silent_ms,
        };
        let hosts: Vec<Silence> = self.0.hosts.iter().map(silence).collect();
        write_all(encoder, SERVER, &one.into_iter().collect::<Vec<_>>())?;
        write_all(encoder, HOST, &hosts)
    }
}

struct Shown {
    server: Arc<Server>,
    board: Board<Figures>,
}

#[async_trait]
impl Source for Shown {
    async fn text(&self) -> Option<String> {
        self.board.text(Figures(self.server.figures())).ok()
    }
}

/// Listens at `address` and answers until stopped; where it listens.
///
/// # Errors
/// It cannot listen there.
pub(super) async fn serve(
    address: &str,
    server: &Arc<Server>,
    stop: &CancellationToken,
) -> Result<SocketAddr, ProgramError> {
    let shown = Shown { server: Arc::clone(server), board: Board::new(|_| {}) };
    farshore_figures::serve(address, Arc::new(shown), stop)
        .await
        .map_err(|error| ProgramError::metrics(address, &error))
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use farshore_control::copy::{CopyMark, CopyStatus};
    use farshore_figures::document;
    use farshore_types::{HostId, SiteId};

    use super::*;

    fn file(path: &str) -> String {
        let root = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        std::fs::read_to_string(root.join(path)).unwrap()
    }

    fn text() -> String {
        let status = SiteStatus {
            site: SiteId(uuid::Uuid::nil()),
            version: "1".to_owned(),
            term: Some(3),
            vault_answers: true,
            hosts: 2,
            documents: 7,
            copy: Some(CopyStatus {
                mark: CopyMark { term: 3, at_ms: 0, len: 1, digest: String::new() },
                behind_ms: 250,
            }),
            problems: Vec::new(),
        };
        let figures = SiteFigures {
            status: Some(status),
            vault_silent_ms: 1500,
            hosts: vec![(HostId(uuid::Uuid::nil()), 250)],
            certificate_until_ms: Some(5000),
            ..SiteFigures::default()
        };
        Board::new(|_| {}).text(Figures(figures)).unwrap()
    }

    #[test]
    fn the_figures_say_what_the_server_says_and_the_document_lists_them() {
        let text = text();
        assert!(text.contains("farshore_site_server_vault_silent_seconds{site="), "{text}");
        assert!(text.contains("} 1.5\n") && text.contains("silent_seconds{host="), "{text}");
        assert!(text.contains("timestamp_seconds{") && text.contains("} 5.0\n"), "{text}");
        let ours = |name: &str| name.starts_with("farshore_site_server_");
        assert_eq!(document::faults(&file("docs/metrics.md"), &text, ours), Vec::<String>::new());
        let (asked, known) =
            (document::used(&file("packaging/grafana/farshore.json")), document::names(&text));
        let asked: Vec<&String> = asked.iter().filter(|name| ours(name)).collect();
        assert!(asked.len() > 2 && asked.iter().all(|name| known.contains(*name)), "{asked:?}");
    }
}

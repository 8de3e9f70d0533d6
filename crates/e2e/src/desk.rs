//! A vault of one machine, in files: what an agent's process is told and says, for tests that
//! play a protection's life step by step with real guests. The documents of a host are one
//! file beside its configuration, its last report another.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use farshore_agent::{
    Agent, Config,
    managed::{Timing, Upstream, UpstreamError},
};
use farshore_control::{
    HostReport,
    report::ReportReply,
    sync::{Documents, Poll},
};
use farshore_types::HostId;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

/// Name of the directory beside the agent's configuration.
const DIR: &str = "desk";
/// How often an agent looks whether it is told something else.
const LOOK: Duration = Duration::from_millis(20);

/// One host's part of it.
#[derive(Clone, Debug)]
pub struct Desk(PathBuf);

impl Desk {
    /// That of the host with this configuration.
    #[must_use]
    pub fn of(config: &Path) -> Desk {
        Desk(config.with_file_name(DIR))
    }

    /// Whether the host has one.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.0.join("host").exists()
    }

    /// Makes it, for a host with this id.
    ///
    /// # Errors
    /// As the system reports.
    pub fn make(&self, id: HostId) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        self.put("host", &id)
    }

    /// Tells the host something else.
    ///
    /// # Errors
    /// As the system reports.
    pub fn tell(&self, documents: &Documents) -> io::Result<()> {
        self.put("documents", documents)
    }

    /// What the host said last.
    #[must_use]
    pub fn report(&self) -> Option<HostReport> {
        self.get("report")
    }

    /// Cuts the host off from its vault, or no more.
    ///
    /// # Errors
    /// As the system reports.
    pub fn cut(&self, cut: bool) -> io::Result<()> {
        self.put("cut", &cut)
    }

    fn put<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        fs::write(&new, serde_json::to_vec(value)?)?;
        fs::rename(new, self.0.join(name))
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    fn lost(&self, why: &str) -> UpstreamError {
        UpstreamError { peer: self.peer(), why: why.to_owned() }
    }
}

#[async_trait]
impl Upstream for Desk {
    fn peer(&self) -> String {
        "the test's desk".to_owned()
    }

    async fn poll(&self, poll: &Poll) -> Result<Documents, UpstreamError> {
        let begun = Instant::now();
        loop {
            if self.get::<bool>("cut") == Some(true) {
                return Err(self.lost("it is cut off"));
            }
            let Some(told) = self.get::<Documents>("documents") else {
                return Err(self.lost("nothing is told yet"));
            };
            let new = poll.cursor.is_none_or(|cursor| cursor.sequence < told.cursor.sequence);
            if new || begun.elapsed() >= Duration::from_secs(poll.wait_secs) {
                let documents = if new { told.documents } else { Vec::new() };
                return Ok(Documents { documents, clock_ms: Some(now_ms()), ..told });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn report(&self, report: &HostReport) -> Result<ReportReply, UpstreamError> {
        if self.get::<bool>("cut") == Some(true) {
            return Err(self.lost("it is cut off"));
        }
        self.put("report", report).map_err(|error| self.lost(&error.to_string()))?;
        Ok(ReportReply::default())
    }
}

/// Serves as the agent of a host that has a desk, until it is killed.
///
/// # Errors
/// What keeps it from starting.
pub fn serve(config: &Path) -> Result<(), String> {
    let desk = Desk::of(config);
    let id = desk.get::<HostId>("host").ok_or("the desk names no host")?;
    let config = Config::load(config).map_err(|e| e.to_string())?;
    let timing = Timing {
        report: Duration::from_secs(2),
        report_gap: Duration::from_millis(50),
        cycle_gap: Duration::from_millis(200),
        look: Duration::from_secs(2),
        retry: Duration::from_millis(100),
        ..Timing::default()
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let agent = Agent::new(config).serving().managed_by(id, vec![Arc::new(desk)], timing);
        let agent = Arc::new(agent.map_err(|e| e.fault().what)?);
        farshore_agent::serve(agent, None, CancellationToken::new()).await.map_err(|e| e.fault().what)
    })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

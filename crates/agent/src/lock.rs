//! One agent per state directory. This module must never wait for an agent: that may hold the lock
//! for years. The watchdog of one that is gone holds it while it mends what that left.

use std::{path::Path, sync::Arc, time::Duration};

use farshore_env::{File, Files, OpenMode};
use tokio::time::Instant;

use crate::{AgentError, Config, control::Running};

/// Name of the locked file.
const LOCK: &str = "agent.lock";
/// How often, and after which pause, a lock is tried: a watchdog looks at it for an instant.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// How long a holder is waited for that answers no command: a watchdog at its work.
const PATIENCE: Duration = Duration::from_secs(30);

/// Held for as long as it lives.
pub(crate) struct Lock {
    _file: Arc<dyn File>,
}

impl Lock {
    /// Takes the lock of an agent's state directory, which is made where it is missing.
    ///
    /// # Errors
    /// [`AgentError::Running`]; else as the system reports.
    pub(crate) async fn take(files: &dyn Files, config: &Config) -> Result<Lock, AgentError> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            for _ in 0..TRIES {
                if let Some(lock) = Lock::attempt(files, &config.state_dir)? {
                    return Ok(lock);
                }
                tokio::time::sleep(PAUSE).await;
            }
            let nobody = matches!(Running::find(&config.socket_path()).await, Ok(None));
            if !nobody || begun.elapsed() > PATIENCE {
                return Err(AgentError::Running { dir: config.state_dir.clone() });
            }
            if !told {
                tracing::info!("the watchdog of an agent that is gone is at work here: waiting for it");
            }
            told = true;
        }
    }

    /// One attempt; none where an agent holds it.
    ///
    /// # Errors
    /// As the system reports.
    pub(crate) fn attempt(files: &dyn Files, state_dir: &Path) -> Result<Option<Lock>, AgentError> {
        let path = state_dir.join(LOCK);
        files.create_dir_all(state_dir).map_err(AgentError::io("create", state_dir))?;
        let file = files.open(&path, OpenMode::Create).map_err(AgentError::io("open", &path))?;
        let free = file.try_lock().map_err(AgentError::io("lock", &path))?;
        Ok(free.then_some(Lock { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use farshore_env::RealFiles;

    use super::*;

    #[tokio::test]
    async fn a_watchdog_at_its_work_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (state_dir, runtime_dir) = (dir.path().join("state"), dir.path().join("run"));
        let config = Config { state_dir, runtime_dir, ..Config::default() };
        let watchdog = Lock::attempt(&RealFiles, &config.state_dir).unwrap().unwrap();
        let work = async {
            tokio::time::sleep(2 * TRIES * PAUSE).await;
            drop(watchdog);
        };
        let (taken, ()) = tokio::join!(Lock::take(&RealFiles, &config), work);
        assert!(taken.is_ok(), "{:?}", taken.err());
    }
}

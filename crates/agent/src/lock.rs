//! One agent per state directory. This module must never wait for long: whoever holds the
//! lock may hold it for years.

use std::{path::Path, sync::Arc, time::Duration};

use farshore_env::{File, Files, OpenMode};

use crate::AgentError;

/// Name of the locked file.
const LOCK: &str = "agent.lock";
/// How often, and after which pause, a lock is tried: a watchdog looks at it for an instant.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Held for as long as it lives.
pub(crate) struct Lock {
    _file: Arc<dyn File>,
}

impl Lock {
    /// Takes the lock of a state directory, which is made where it is missing.
    ///
    /// # Errors
    /// [`AgentError::Running`]; else as the system reports.
    pub(crate) async fn take(files: &dyn Files, state_dir: &Path) -> Result<Lock, AgentError> {
        for _ in 0..TRIES {
            if let Some(lock) = Lock::attempt(files, state_dir)? {
                return Ok(lock);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(AgentError::Running { dir: state_dir.to_owned() })
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

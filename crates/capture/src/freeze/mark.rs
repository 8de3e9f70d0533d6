//! The mark of a freeze on disk: there from before the guest is asked to freeze until it is
//! thawed for certain. Each is of its own, so that nobody takes away a later one. This module
//! must never speak with a guest.

use std::path::{Path, PathBuf};

use farshore_env::{Files, OpenMode, read_exact_at};
use uuid::Uuid;

use crate::CaptureError;

/// Name of the mark in the machine's state directory.
const MARK: &str = "frozen";
/// Longest mark, in bytes.
const MARK_MAX: u64 = 64;

fn path(state: &Path) -> PathBuf {
    state.join(MARK)
}

/// Sets the mark, durably; what is in it.
pub(super) fn write(files: &dyn Files, state: &Path) -> Result<Vec<u8>, CaptureError> {
    let (path, mark) = (path(state), Uuid::new_v4().simple().to_string().into_bytes());
    let write = || {
        let file = files.open(&path, OpenMode::Truncate)?;
        file.write_at(&mark, 0)?;
        file.sync()?;
        files.sync_dir(state)
    };
    write().map(|()| mark.clone()).map_err(|source| CaptureError::State {
        what: "writing",
        path: path.clone(),
        source,
    })
}

/// What is in the mark; none: it is not there.
pub(super) fn read(files: &dyn Files, state: &Path) -> Result<Option<Vec<u8>>, CaptureError> {
    let path = path(state);
    let read = || -> std::io::Result<Vec<u8>> {
        let file = files.open(&path, OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.size()?.min(MARK_MAX)).unwrap_or(0)];
        read_exact_at(&*file, &mut bytes, 0)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CaptureError::State { what: "reading", path, source }),
    }
}

/// Takes the mark away, where it is the given one.
pub(super) fn clear(files: &dyn Files, state: &Path, ours: &[u8]) -> Result<(), CaptureError> {
    let path = path(state);
    if read(files, state)?.as_deref() != Some(ours) {
        return Ok(());
    }
    let clear = || {
        files.remove(&path)?;
        files.sync_dir(state)
    };
    match clear() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| CaptureError::State { what: "removing", path: path.clone(), source }),
    }
}

//! Configuration files read, and small files of secrets written. This module must never know any program's keys.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::ProgramError;

/// Reads a file; the defaults where none was named and the default one is missing. Unknown
/// keys are named and stop nothing.
pub(crate) fn load<T>(path: Option<&Path>, default: &str) -> Result<T, ProgramError>
where
    T: DeserializeOwned + Serialize + Default,
{
    let file = path.map_or_else(|| PathBuf::from(default), Path::to_path_buf);
    let text = match fs::read_to_string(&file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.is_none() => return Ok(T::default()),
        read => read.map_err(ProgramError::io("read", &file))?,
    };
    let name = file.display().to_string();
    for unknown in farshore_config::unknown_keys::<T>(&name, &text)? {
        tracing::warn!(%unknown, "this key of the configuration is not known");
    }
    toml::from_str(&text).map_err(|error| ProgramError::Settings { file: name, why: error.to_string() })
}

/// A command of `farshore` as it is typed, with the configuration that is named.
pub(crate) fn command(words: &str, file: Option<&Path>) -> String {
    let named = file.map_or_else(String::new, |file| {
        let file = file.display().to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
        if file.chars().all(plain) { format!(" --config {file}") } else { format!(" --config '{file}'") }
    });
    format!("farshore {words}{named}")
}

/// Writes a file that its owner alone reads, all of it or nothing.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), ProgramError> {
    let new = path.with_extension("tmp");
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(ProgramError::io("write", path))
}

/// This host's name.
pub(crate) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

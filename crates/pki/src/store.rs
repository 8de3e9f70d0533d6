//! The files of keys and certificates: keys are readable by their owner alone.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::PkiError;

const MODE_SECRET: u32 = 0o600;
const MODE_PUBLIC: u32 = 0o644;

/// Reads a file of text.
///
/// # Errors
/// [`PkiError::Missing`]; [`PkiError::File`].
pub fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => PkiError::Missing { path: path.to_owned() },
        _ => PkiError::File { what: "read", path: path.to_owned(), source },
    })
}

/// Writes a file that only its owner may read, durable, all or nothing.
///
/// # Errors
/// [`PkiError::File`].
pub fn write_secret(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, MODE_SECRET)
}

pub(crate) fn write_public(path: &Path, text: &str) -> Result<(), PkiError> {
    write(path, text, MODE_PUBLIC)
}

/// Writes beside the file and renames, so that a reader never sees half a key and the
/// mode holds from the first byte, also where an older file was readable by others.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let attempt = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        match path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    attempt().map_err(|source| PkiError::File { what: "write", path: path.to_owned(), source })
}

//! What can go wrong while the demo guest is built or watched.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The demo guest could not be built or read.
#[derive(Debug, Error)]
pub enum GuestError {
    /// A program is not installed.
    #[error("`{program}` could not be run; `cargo xtask setup` installs it")]
    Missing {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The whole command.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// A file could not be read or written.
    #[error("could not {doing} {}", path.display())]
    File {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A package does not hold what the guest is made of.
    #[error("the package {package} has no {what}; the guest's recipe does not fit this distribution")]
    Unfit {
        /// The package.
        package: String,
        /// What was looked for.
        what: String,
    },
    /// The boot loader does not fit before the first partition.
    #[error("the boot loader has {bytes} bytes, and {room} fit before the first partition")]
    LoaderTooLarge {
        /// Its size.
        bytes: usize,
        /// What fits.
        room: usize,
    },
}

impl GuestError {
    /// For `map_err`: names what was done to which file.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GuestError {
        let path = path.to_owned();
        move |source| GuestError::File { doing, path, source }
    }
}

//! Builds the guest's one program as a static binary, with a cargo of its own so that it
//! never waits for, nor disturbs, the build that is running.

use std::path::{Path, PathBuf};

use crate::build::workspace;
use crate::command::{output_of, program};
use crate::error::GuestError;

/// The guest is a PC, whatever the host is.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROGRAM: &str = "farshore-ledger";

/// Builds it under `dir`; quick when nothing changed.
pub(crate) fn build(dir: &Path) -> Result<PathBuf, GuestError> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = program(&cargo);
    command
        .args(["build", "--quiet", "--release", "--package", PROGRAM, "--bin", PROGRAM, "--target", TARGET])
        .arg("--target-dir")
        .arg(dir)
        .arg("--manifest-path")
        .arg(workspace().join("Cargo.toml"))
        // Flags of the cargo that runs us, for coverage or sanitizers, are not the guest's.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols");
    output_of(&mut command)?;
    Ok(dir.join(TARGET).join("release").join(PROGRAM))
}

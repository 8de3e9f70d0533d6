//! `cargo xtask bench`: builds for release and measures.

use anyhow::Result;

use crate::process::{cargo, show_and_run, workspace};

/// Measures all groups, or those that `more` names as `--only GROUP`.
pub(crate) fn run(more: &[String]) -> Result<()> {
    let packages =
        ["--package", "farshore", "--package", "farshore-agent", "--package", "farshore-e2e", "--bins"];
    show_and_run(cargo().args(["build", "--release"]).args(packages))?;
    let built = workspace().join("target/release");
    let mut bench = std::process::Command::new(built.join("bench"));
    show_and_run(bench.arg(built.join("farshore-agent")).args(more).current_dir(workspace()))
}

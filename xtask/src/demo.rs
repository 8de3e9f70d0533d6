//! `cargo xtask demo`: builds the agent and the demo, and shows the main job.

use anyhow::Result;

use crate::process::{cargo, show_and_run, workspace};

/// Builds for release and runs; fails where the guest's own verdict is bad.
pub(crate) fn run() -> Result<()> {
    let packages = ["--package", "farshore-agent", "--package", "farshore-e2e", "--bins"];
    show_and_run(cargo().args(["build", "--release"]).args(packages))?;
    let built = workspace().join("target/release");
    let mut demo = std::process::Command::new(built.join("demo"));
    show_and_run(demo.arg(built.join("farshore-agent")).current_dir(workspace()))
}

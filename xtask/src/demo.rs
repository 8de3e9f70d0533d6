//! `cargo xtask demo`: builds the programs and the demo, and shows the main job.

use anyhow::Result;

use crate::process::{cargo, show_and_run, workspace};

/// Builds for release and runs; fails where the guest's own verdict is bad.
pub(crate) fn run() -> Result<()> {
    let packages = ["farshore", "farshore-agent", "farshore-e2e"].map(|name| ["--package", name]);
    show_and_run(cargo().args(["build", "--release", "--bins"]).args(packages.concat()))?;
    let built = workspace().join("target/release");
    let mut demo = std::process::Command::new(built.join("demo"));
    show_and_run(
        demo.args(["farshore", "farshore-agent"].map(|name| built.join(name))).current_dir(workspace()),
    )
}

//! `cargo xtask test`: every check, then every test, in the order of how soon they can fail.

use anyhow::Result;

use crate::process::{cargo, output_of, show_and_run};
use crate::{layers, tidy};

/// Runs the checks and, unless only those are wanted, the tests.
pub(crate) fn run(checks_only: bool) -> Result<()> {
    show_and_run(cargo().args(["fmt", "--all", "--check"]))?;
    layers::run()?;
    tidy::run()?;
    show_and_run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // As they are shipped: nothing of them may need what tests alone switch on.
    let programs = ["clippy", "--bins", "--package", "farshore", "--package", "farshore-agent"];
    show_and_run(cargo().args(programs).args(["--", "-D", "warnings"]))?;
    if checks_only { Ok(()) } else { tests() }
}

/// nextest where it is installed; it leaves out the examples in the documentation.
fn tests() -> Result<()> {
    if output_of(cargo().args(["nextest", "--version"])).is_err() {
        return show_and_run(cargo().args(["test", "--workspace", "--no-fail-fast"]));
    }
    show_and_run(cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
    show_and_run(cargo().args(["nextest", "run", "--workspace", "--no-fail-fast"]))
}

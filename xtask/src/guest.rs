//! `cargo xtask guest`: builds the demo guest and prints where its disks are.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

/// Builds it in `out`, or where the tests look for it.
pub(crate) fn run(out: Option<&Path>) -> Result<()> {
    let default = farshore_guest::default_out_dir();
    let image = farshore_guest::build(out.unwrap_or(&default))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}\n{}", image.disk1.display(), image.disk2.display())?;
    Ok(())
}

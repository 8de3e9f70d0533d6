//! `cargo xtask guest`: builds the guests and prints where their disks are.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

/// Builds them in `out`, or where the tests look for them: the demo guest, then the full one.
pub(crate) fn run(out: Option<&Path>) -> Result<()> {
    let default = farshore_guest::default_out_dir();
    let out = out.unwrap_or(&default);
    let mut stdout = std::io::stdout().lock();
    for image in [farshore_guest::build(out)?, farshore_guest::build_debian(out)?] {
        writeln!(stdout, "{}\n{}", image.disk1.display(), image.disk2.display())?;
    }
    Ok(())
}

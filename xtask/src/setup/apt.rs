//! Debian's package tools, run so that they ask nothing.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::sources;
use crate::process::{output_of, show_and_run};

const SOURCES_DIR: &str = "/etc/apt/sources.list.d";
const SOURCES_LIST: &str = "/etc/apt/sources.list";
/// Read when Debian's package of a PostgreSQL server is installed.
const CLUSTER_FOLDER: &str = "/etc/postgresql-common/createcluster.d";
const OUR_CLUSTER_RULE: &str = "/etc/postgresql-common/createcluster.d/farshore-setup.conf";
const OUR_SOURCES: &str = "/etc/apt/sources.list.d/farshore-backports.sources";

/// Which of `packages` are installed.
pub(super) fn installed(packages: &[&str]) -> Result<Vec<String>> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${Package}\n"]).args(packages);
    // It fails when it does not know one of them, which is an answer, too.
    let output = query.output().context("run dpkg-query")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_prefix("installed ")).map(str::to_owned).collect())
}

/// Makes sure that apt knows `suite`, on the same host as the main one.
pub(super) fn offer_suite(suite: &str) -> Result<()> {
    let known = output_of(Command::new("apt-cache").arg("policy"))?;
    if known.contains(&format!("n={suite}")) {
        return Ok(());
    }
    let base = suite.strip_suffix("-backports").unwrap_or(suite);
    let entry = sources::entry_for(suite, base, &source_files()).with_context(|| {
        format!(
            "no entry for the suite {base} in {SOURCES_LIST} or {SOURCES_DIR}; add {suite} there yourself"
        )
    })?;
    eprintln!("setup: adding {suite} in {OUR_SOURCES}");
    write_as_root(OUR_SOURCES, &entry)
}

/// Installs `packages`, from `suite` where it has them.
pub(super) fn install(packages: &[&str], suite: Option<&str>) -> Result<()> {
    show_and_run(as_root("apt-get").args(["update", "-q"]))?;
    let mut install = as_root("env");
    install.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-q",
        "--no-install-recommends",
    ]);
    install.args(suite.into_iter().flat_map(|suite| ["-t", suite])).args(packages);
    show_and_run(&mut install).context("install the packages; as root, the command above does the same")
}

/// Until [`allow_cluster`], installing a PostgreSQL server makes and starts no cluster.
pub(super) fn forbid_cluster() -> Result<()> {
    show_and_run(as_root("mkdir").args(["-p", CLUSTER_FOLDER]))?;
    write_as_root(OUR_CLUSTER_RULE, "create_main_cluster = false\n")
}

/// Leaves the machine's own rules as they were.
pub(super) fn allow_cluster() -> Result<()> {
    show_and_run(as_root("rm").args(["-f", OUR_CLUSTER_RULE]))
}

/// Keeps a package's service from being started with the system.
pub(super) fn switch_off(service: &str) -> Result<()> {
    show_and_run(as_root("update-rc.d").args([service, "disable"]))
}

/// A command as root: through sudo for anybody else, which must not ask for a password.
fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// Whether this process acts as root, from what the kernel says about it.
fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn write_as_root(path: &str, text: &str) -> Result<()> {
    let mut tee =
        as_root("tee").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().context("run tee")?;
    if let Some(mut input) = tee.stdin.take() {
        input.write_all(text.as_bytes()).with_context(|| format!("write {path}"))?;
    }
    let status = tee.wait().context("wait for tee")?;
    ensure!(
        status.success(),
        "could not write {path} ({status}); setup needs root, or a sudo that does not ask"
    );
    Ok(())
}

/// Every list of package sources on this machine: name and text.
fn source_files() -> Vec<(String, String)> {
    let listed = fs::read_dir(SOURCES_DIR).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = listed.chain([PathBuf::from(SOURCES_LIST)]).collect();
    paths.sort();
    let is_list = |path: &Path| path.extension().is_some_and(|e| e == "sources" || e == "list");
    let read = |path: PathBuf| Some((path.to_string_lossy().into_owned(), fs::read_to_string(&path).ok()?));
    paths.into_iter().filter(|path| is_list(path)).filter_map(read).collect()
}

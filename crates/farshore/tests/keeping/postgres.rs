//! A real PostgreSQL server in a temporary folder, on a unix socket.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Where Debian has the server's programs, which are not in the path.
const PROGRAMS: &str = "/usr/lib/postgresql";

pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    process: Child,
}

impl Postgres {
    /// Makes a cluster and starts it; it ends with this thread.
    pub(crate) fn start() -> Postgres {
        let versions = fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
        let programs =
            versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
        let programs = programs.max().expect("no PostgreSQL server is installed: run `cargo xtask setup`");
        let folder = tempfile::Builder::new().prefix("farshore-pg-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let owned = folder.path().join("owned");
        fs::create_dir(&owned).unwrap();
        let user = is_root().then_some("postgres");
        if let Some(user) = user {
            assert!(Command::new("chown").arg(user).arg(&owned).status().unwrap().success());
        }
        let mut init = as_user(user, &programs.join("initdb"));
        init.args(["--no-sync", "--auth=trust", "--username=farshore", "--encoding=UTF8", "--locale=C"]);
        let made = init.arg("-D").arg(owned.join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let process = run(user, &programs, &owned);
        let server = Postgres { folder, process };
        let begun = Instant::now();
        let mut ask = Command::new(programs.join("psql"));
        ask.args(["-q", "-U", "farshore", "-d", "postgres", "-h"]).arg(&owned);
        ask.args(["-c", "CREATE DATABASE vault"]).stderr(Stdio::null());
        while !ask.status().unwrap().success() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// How a vault names it.
    pub(crate) fn text(&self) -> String {
        format!("postgres://farshore@localhost/vault?host={}", self.folder.path().join("owned").display())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn run(user: Option<&str>, programs: &PathBuf, owned: &Path) -> Child {
    let mut command = as_user(user, &programs.join("postgres"));
    command.arg("-D").arg(owned.join("data")).arg("-k").arg(owned);
    for setting in ["listen_addresses=", "shared_buffers=16MB", "max_connections=40"] {
        command.arg("-c").arg(setting);
    }
    let log = fs::File::create(owned.with_file_name("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Which it refuses to be: root. It ends with the thread that started it.
fn as_user(user: Option<&str>, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if let Some(user) = user {
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    }
    command.arg(program);
    command
}

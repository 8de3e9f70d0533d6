//! A real PostgreSQL server in a temporary folder, on a unix socket, for one test.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::place::Place;

/// Where Debian has the server's programs, which are not in the path.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Longest time for the server to start.
const START_MAX: Duration = Duration::from_secs(60);
/// Users that the server may run as where the test runs as root, which it refuses.
const USERS: [&str; 2] = ["postgres", "nobody"];

pub struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    process: Child,
}

impl Server {
    /// Makes a cluster and starts it. It ends with the thread that started it, even if that
    /// is killed.
    pub fn start() -> Server {
        let programs = programs();
        let folder = tempfile::Builder::new().prefix("farshore-pg-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let owned = folder.path().join("owned");
        fs::create_dir(&owned).unwrap();
        if let Some(user) = other_user() {
            nix::unistd::chown(&owned, Some(user.uid), Some(user.gid)).unwrap();
        }
        let mut init = as_user(&programs.join("initdb"));
        init.args(["--no-sync", "--auth=trust", "--username=farshore", "--encoding=UTF8", "--locale=C"]);
        init.args(["--wal-segsize=1", "-D"]).arg(owned.join("data"));
        let made = init.output().expect("run initdb");
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let process = run(&programs, &owned);
        let mut server = Server { folder, programs, process };
        server.wait();
        server
    }

    /// A database of its own.
    pub fn place(&self, name: &str) -> Place {
        let name: String = name.chars().take(60).collect();
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-q", "-U", "farshore", "-d", "postgres", "-h"]).arg(self.owned());
        command.arg("-c").arg(format!("CREATE DATABASE {name}"));
        let made = command.output().expect("run psql");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Place::postgres(format!("postgres://farshore@localhost/{name}?host={}", self.owned().display()))
    }

    /// Kills it as a power cut would end its processes.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it on what it left behind.
    pub fn start_again(&mut self) {
        let began = Instant::now();
        // The killed one's other processes take a moment to notice, and keep a new one out.
        loop {
            std::thread::sleep(Duration::from_millis(100));
            self.process = run(&self.programs, &self.owned());
            std::thread::sleep(Duration::from_millis(400));
            if self.process.try_wait().unwrap().is_none() {
                break;
            }
            assert!(began.elapsed() < START_MAX, "it does not start again: {}", self.log());
        }
        self.wait();
    }

    /// Everything in a database, as statements.
    pub fn dump(&self, place: &Place) -> String {
        let mut dump = Command::new(self.programs.join("pg_dump"));
        let made = dump.args(["--inserts", "--no-owner", "-d", &place.text]).output().expect("run pg_dump");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // It changes its own name from one minor version to the next, and psql's commands.
        let text = String::from_utf8(made.stdout).unwrap();
        let kept = text
            .lines()
            .filter(|line| !line.starts_with("--") && !line.starts_with('\\') && !line.is_empty());
        kept.map(|line| format!("{line}\n")).collect()
    }

    /// Runs a file of statements.
    pub fn run_file(&self, place: &Place, path: &Path) {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &place.text, "-f"]).arg(path);
        let run = psql.stdout(Stdio::null()).output().expect("run psql");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    }

    /// What the server said last.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.owned().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn owned(&self) -> PathBuf {
        self.folder.path().join("owned")
    }

    fn wait(&mut self) {
        let began = Instant::now();
        while UnixStream::connect(self.owned().join(".s.PGSQL.5432")).is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < START_MAX, "no server: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        // It takes connections a moment before it answers them.
        let ready = || {
            let mut ask = Command::new(self.programs.join("pg_isready"));
            ask.args(["-q", "-U", "farshore", "-d", "postgres", "-h"])
                .arg(self.owned())
                .status()
                .unwrap()
                .success()
        };
        while !ready() {
            assert!(began.elapsed() < START_MAX, "the server is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn run(programs: &Path, owned: &Path) -> Child {
    let log = owned.join("log");
    let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = as_user(&programs.join("postgres"));
    command.arg("-D").arg(owned.join("data")).arg("-k").arg(owned);
    for setting in ["listen_addresses=", "shared_buffers=16MB", "max_connections=40"] {
        command.arg("-c").arg(setting);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("run postgres")
}

/// The newest version's folder; a test without a server fails, it does not pass in silence.
fn programs() -> PathBuf {
    let versions =
        fs::read_dir(PROGRAMS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|bin| bin.join("initdb").exists()).max();
    newest
        .expect("no PostgreSQL server is installed: run `apt-get install postgresql` or `cargo xtask setup`")
}

/// Who the server runs as; none: as this test's user.
fn other_user() -> Option<nix::unistd::User> {
    nix::unistd::geteuid().is_root().then(|| {
        let found = USERS.iter().find_map(|name| nix::unistd::User::from_name(name).ok().flatten());
        found.expect("the server refuses to run as root, and there is no user postgres or nobody")
    })
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if let Some(user) = other_user() {
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
        command.arg("--clear-groups");
    }
    command.arg(program);
    command
}

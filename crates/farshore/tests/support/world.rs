//! A vault and its site servers as real processes, and the commands of an operator.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for a program.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    dir: TempDir,
    /// The vault's address.
    pub(crate) vault: String,
    running: Vec<(String, Child)>,
}

impl World {
    pub(crate) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let vault = free_address();
        let world = World { dir, vault, running: Vec::new() };
        world.configure_vault("vault", &world.vault, &world.vault, "");
        world
    }

    /// Writes the configuration of a vault's process, with a data directory of its name.
    pub(crate) fn configure_vault(&self, name: &str, listen: &str, address: &str, more: &str) {
        let data = self.path(name);
        let text = format!("data_dir = {data:?}\nlisten = \"{listen}\"\naddress = \"{address}\"\n{more}");
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_farshore"))
            .args(args)
            .env("FARSHORE_CONTEXT", self.path("context.toml"))
            .output()
            .unwrap()
    }

    /// A command that must succeed; what it wrote.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// A command that must fail; what it complained.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(!done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stdout));
        String::from_utf8_lossy(&done.stderr).into_owned()
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--output", "json"]].concat())).unwrap()
    }

    pub(crate) fn config(&self, name: &str) -> String {
        self.path(&format!("{name}.toml")).display().to_string()
    }

    pub(crate) fn start(&mut self, name: &str, args: &[&str]) {
        let log =
            fs::File::options().create(true).append(true).open(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_farshore"))
            .args(args)
            .args(["--config", &self.config(name)])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.push((name.to_owned(), child));
    }

    /// Starts a command that goes on; what it writes goes to `NAME.log`.
    pub(crate) fn follow(&mut self, name: &str, args: &[&str]) {
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_farshore"))
            .args(args)
            .env("FARSHORE_CONTEXT", self.path("context.toml"))
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.running.push((name.to_owned(), child));
    }

    /// Sends a signal, by the name that `kill` knows it by.
    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let (_, child) = self.running.iter().find(|(known, _)| known == name).unwrap();
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Whether a program has ended by itself.
    pub(crate) fn has_ended(&mut self, name: &str) -> bool {
        let (_, child) = self.running.iter_mut().find(|(known, _)| known == name).unwrap();
        child.try_wait().unwrap().is_some()
    }

    pub(crate) fn kill(&mut self, name: &str) {
        let at = self.running.iter().position(|(known, _)| known == name).unwrap();
        let (_, mut child) = self.running.swap_remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts the vault and waits until it answers.
    pub(crate) fn start_vault(&mut self) {
        self.start("vault", &["vault", "serve"]);
        self.until("the vault answers", |world| world.run(&["site", "list"]).status.success());
    }

    /// Adds a site, enrols its server, starts it; the name of its configuration is the site's.
    pub(crate) fn add_site(&mut self, name: &str) {
        let address = free_address();
        let data = self.path(name);
        let text = format!(
            "data_dir = {data:?}\nlisten = \"{address}\"\naddress = \"{address}\"\nname = \"site-{name}\"\n"
        );
        fs::write(self.path(&format!("{name}.toml")), text).unwrap();
        let key = self.json(&["site", "add", name])["key"].as_str().unwrap().to_owned();
        let config = self.config(name);
        self.ok(&["site", "enrol", "--key", &key, "--config", &config]);
        self.start(name, &["site", "serve"]);
        let sock = data.join("keys.sock");
        self.until("the site server answers", |_| sock.exists());
    }

    pub(crate) fn until(&self, what: &str, mut done: impl FnMut(&World) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn logs(&self) -> String {
        self.running.iter().map(|(name, _)| self.log(name)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// An address at which nobody listens, nor will before it is wanted.
pub(crate) fn free_address() -> String {
    format!("127.0.0.1:{}", farshore_sim::free_port())
}

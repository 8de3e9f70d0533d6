//! The control plane on this machine: a vault and site servers as processes of their own,
//! driven by the commands that operators use. What the demo and the tests with real guests
//! share.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::host::{Outcome, TestHost, in_namespace, run};

/// Longest wait for a program to answer.
const STARTS: Duration = Duration::from_secs(60);

/// Told of each command: where it is run, and the command as an operator would write it.
pub type Show = fn(place: &str, command: &str);

/// Where programs live: by their names, a network namespace and the address there.
pub type Places = BTreeMap<String, (String, String)>;

/// Port of programs that have an address of their own.
const PORT: u16 = 7400;

/// The programs above the agents.
pub struct Plane {
    program: PathBuf,
    agent: PathBuf,
    dir: PathBuf,
    show: Show,
    places: Places,
    /// Where operators are: at the vault that they order.
    desk: String,
    running: Vec<(String, Child)>,
    /// Opens the authority's key, as the vault showed it once.
    recovery: String,
}

impl Plane {
    /// A vault that serves; no site yet. `program` is `farshore`, `agent` is `farshore-agent`.
    ///
    /// # Errors
    /// What the commands say.
    pub fn new(program: &Path, agent: &Path, dir: &Path, show: Show) -> Outcome<Plane> {
        Plane::on(program, agent, dir, show, Places::new())
    }

    /// The same; programs that have a place live there, operators at the vault's.
    ///
    /// # Errors
    /// As there.
    pub fn on(program: &Path, agent: &Path, dir: &Path, show: Show, places: Places) -> Outcome<Plane> {
        let mut plane = Plane {
            program: program.to_owned(),
            agent: agent.to_owned(),
            dir: dir.to_owned(),
            show,
            places,
            desk: "vault".to_owned(),
            running: Vec::new(),
            recovery: String::new(),
        };
        plane.configure("vault", "")?;
        let made = plane.at("vault", &["vault", "init", "--output", "json"])?;
        plane.recovery = field(&made, "recovery_key")?;
        plane.start("vault", &["vault", "serve"])?;
        until("the vault to answer", || plane.quietly(&["site", "list"]).is_ok())?;
        Ok(plane)
    }

    /// Adds a site and runs its server.
    ///
    /// # Errors
    /// What the commands say.
    pub fn add_site(&mut self, site: &str) -> Outcome<()> {
        self.configure(site, &format!("name = 'site-{site}'\n"))?;
        let key = key_in(&self.operate(&["site", "add", site, "--output", "json"])?)?;
        self.at(site, &["site", "enrol", "--key", &key])?;
        self.start(site, &["site", "serve"])?;
        let config = self.config(site);
        until("the site's server", || self.quietly(&["site", "host-key", "--config", &config]).is_ok())
    }

    /// Enrols a host at a site's server, by the agent's own command.
    ///
    /// # Errors
    /// What the commands say.
    pub fn enrol(&self, host: &TestHost, site: &str) -> Outcome<()> {
        let key = key_in(&self.at(site, &["site", "host-key", "--output", "json"])?)?;
        let (address, replication) = (&host.address, format!("{}:{}", host.address, host.port));
        let args = ["enrol", "--key", &key, "--address", address, "--replication-address", &replication];
        (self.show)(&host.name, &format!("farshore-agent {}", shortened(&args)));
        run(host.here(&self.agent).arg("--config").arg(host.config()).args(args)).map(drop)
    }

    /// Makes the vault anew of the warm copy of a site, on that site's machine, under `name`,
    /// and runs it. Commands go there from then on.
    ///
    /// # Errors
    /// What the commands say.
    pub fn promote(&mut self, site: &str, name: &str) -> Outcome<()> {
        self.configure(name, "")?;
        let (site, recovery) = (self.config(site), self.recovery.clone());
        self.desk = name.to_owned();
        self.at(name, &["vault", "promote", "--site-config", &site, "--recovery-key", &recovery])?;
        self.start(name, &["vault", "serve"])?;
        until("the promoted vault to answer", || self.quietly(&["site", "list"]).is_ok())
    }

    /// How a site's server stands, as it says on its own machine.
    #[must_use]
    pub fn site_status(&self, site: &str) -> Option<Value> {
        let config = self.config(site);
        self.json(&["site", "status", "--config", &config]).ok()
    }

    /// Runs a command as an operator does.
    ///
    /// # Errors
    /// What it wrote to its standard error.
    pub fn operate(&self, args: &[&str]) -> Outcome<String> {
        (self.show)("anywhere", &format!("farshore {}", shortened(args)));
        self.quietly(args)
    }

    /// The same, and nobody is told of it.
    ///
    /// # Errors
    /// What it wrote to its standard error.
    pub fn quietly(&self, args: &[&str]) -> Outcome<String> {
        run(&mut self.command(args))
    }

    /// The answer of a command in JSON; nobody is told of it.
    ///
    /// # Errors
    /// What it wrote to its standard error; an answer that is no JSON.
    pub fn json(&self, args: &[&str]) -> Outcome<Value> {
        let text = self.quietly(&[args, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|e| format!("reading the answer to {args:?}: {e}"))
    }

    /// What the vault says of a machine's protection.
    #[must_use]
    pub fn protection(&self, machine: &str) -> Option<Value> {
        let all = self.json(&["status"]).ok()?;
        all["protections"].as_array()?.iter().find(|p| p["name"] == machine).cloned()
    }

    /// Starts a program with the configuration of `name`. Its log goes to `NAME.log`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(&mut self, name: &str, args: &[&str]) -> Outcome<()> {
        (self.show)(name, &format!("farshore {} &", args.join(" ")));
        let log = fs::File::options().create(true).append(true).open(self.log(name));
        let log = log.map_err(|e| format!("opening the log of {name}: {e}"))?;
        let config = self.config(name);
        let mut command = self.command_at(name, &[args, &["--config", &config]].concat());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.running.push((name.to_owned(), child.map_err(|e| format!("starting {args:?}: {e}"))?));
        Ok(())
    }

    /// The process of `name`, while it runs.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.running.iter().find(|(known, _)| known == name).map(|(_, child)| child.id())
    }

    /// Ends the program of `name` as a power cut would.
    pub fn kill(&mut self, name: &str) {
        for (_, child) in self.running.iter_mut().filter(|(known, _)| known == name) {
            end(child);
        }
        self.running.retain(|(known, _)| known != name);
    }

    /// Ends all of them as a power cut would.
    pub fn kill_all(&mut self) {
        self.running.drain(..).for_each(|(_, mut child)| end(&mut child));
    }

    /// What they have logged.
    #[must_use]
    pub fn logs(&self) -> String {
        self.running.iter().map(|(name, _)| format!("--- {name}\n{}", self.log_of(name))).collect()
    }

    /// What one of them has logged.
    #[must_use]
    pub fn log_of(&self, name: &str) -> String {
        fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    fn at(&self, name: &str, args: &[&str]) -> Outcome<String> {
        (self.show)(name, &format!("farshore {}", shortened(args)));
        run(&mut self.command_at(name, &[args, &["--config", &self.config(name)]].concat()))
    }

    fn command(&self, args: &[&str]) -> Command {
        self.command_at(&self.desk, args)
    }

    fn command_at(&self, name: &str, args: &[&str]) -> Command {
        let namespace = self.places.get(name).map(|(namespace, _)| namespace.as_str());
        let mut command = in_namespace(namespace, &self.program);
        command.args(args).env("FARSHORE_CONTEXT", self.dir.join("context.toml"));
        command
    }

    fn config(&self, name: &str) -> String {
        self.dir.join(format!("{name}.toml")).display().to_string()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    fn configure(&self, name: &str, more: &str) -> Outcome<()> {
        let address = match self.places.get(name) {
            Some((_, address)) => format!("{address}:{PORT}"),
            None => format!("127.0.0.1:{}", farshore_sim::free_port()),
        };
        let data = self.dir.join(name);
        let text = format!("data_dir = {data:?}\nlisten = '{address}'\naddress = '{address}'\n{more}");
        fs::write(self.config(name), text).map_err(|e| format!("writing a configuration: {e}"))
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.kill_all();
    }
}

/// Waits until something has come about.
///
/// # Errors
/// Where it does not within a minute.
pub fn until(what: &str, mut done: impl FnMut() -> bool) -> Outcome<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > STARTS {
            return Err(format!("waited {} s in vain for {what}", STARTS.as_secs()));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn end(child: &mut Child) {
    // Gone already is as good.
    let _ = child.kill();
    let _ = child.wait();
}

fn key_in(answer: &str) -> Outcome<String> {
    field(answer, "key")
}

fn field(answer: &str, name: &str) -> Outcome<String> {
    let answer: Value = serde_json::from_str(answer).map_err(|e| format!("reading the {name}: {e}"))?;
    answer[name].as_str().map(str::to_owned).ok_or_else(|| format!("there is no {name} in {answer}"))
}

/// A command line for people: keys cut short, and no form of output for programs.
fn shortened(args: &[&str]) -> String {
    let args = args.strip_suffix(&["--output", "json"]).unwrap_or(args);
    let short = |arg: &&str| match arg.split_once('.') {
        Some((kind, key)) if key.len() > 40 => format!("{kind}.{}…", &key[..6]),
        _ => (*arg).to_owned(),
    };
    args.iter().map(short).collect::<Vec<_>>().join(" ")
}

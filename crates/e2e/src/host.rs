//! A host of its own on this machine: an embedded libvirt, an agent process, directories,
//! certificates. What the demo, the benchmarks and the tests with real guests share.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use farshore_agent::control::{SourceLine, Status};
use farshore_hypervisor::{Hypervisor, Start, libvirt::Libvirt};
use farshore_sim::free_port;
use serde::de::DeserializeOwned;

use crate::orphans;

/// With this as its first argument, a program of the test side must call [`place_machine`]
/// and end: an embedded libvirt admits one process, and the agent is to be that process.
pub const PLACE_MACHINE: &str = "place-machine";

/// Longest wait for an agent to answer: it waits itself, up to half a minute, for what a killed one's
/// watchdog still does, and opens its hypervisor after that.
const AGENT_STARTS: Duration = Duration::from_secs(120);

/// One host.
pub struct TestHost {
    /// Its name, also in its certificate.
    pub name: String,
    /// Everything of it is under here.
    pub dir: PathBuf,
    /// Where its agent listens.
    pub port: u16,
    /// The address at which it listens.
    pub address: String,
    program: PathBuf,
    environment: Vec<(String, String)>,
    agent: Option<Child>,
    namespace: Option<String>,
}

/// What a host replicates.
pub struct Replicates<'a> {
    /// Name of the machine.
    pub machine: &'a str,
    /// To where.
    pub to: &'a TestHost,
    /// Copy frequency, such as `2s`.
    pub frequency: &'a str,
    /// `auto`, `on` or `off`.
    pub compression: &'a str,
    /// `on` or `off`.
    pub small_writes: &'a str,
}

/// What went wrong, in words.
pub type Outcome<T> = Result<T, String>;

/// Puts the action before an error.
fn to<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> Outcome<T> {
    result.map_err(|e| format!("{what}: {e}"))
}

/// Makes the certificate authority of the hosts under `dir`.
///
/// # Errors
/// What the agent's own command says.
pub fn make_authority(program: &Path, dir: &Path) -> Outcome<PathBuf> {
    let ca = dir.join("ca");
    run(Command::new(program).args(["cert", "init"]).arg(&ca))?;
    Ok(ca)
}

impl TestHost {
    /// Sets a host up: directories, certificate. Nothing runs yet.
    ///
    /// # Errors
    /// What could not be made.
    pub fn new(program: &Path, dir: &Path, name: &str, ca: &Path) -> Outcome<TestHost> {
        let host = TestHost::bare(program, dir, name)?;
        let mut issue = Command::new(program);
        issue.args(["cert", "issue", "--host", name, "--ca"]).arg(ca);
        run(issue.arg("--out").arg(host.dir.join("identity")))?;
        Ok(host)
    }

    /// A host without a certificate, to be enrolled.
    ///
    /// # Errors
    /// What could not be made.
    pub fn bare(program: &Path, dir: &Path, name: &str) -> Outcome<TestHost> {
        orphans::adopt();
        let dir = dir.join(name);
        for part in ["run", "state", "images"] {
            to("making a host's directories", fs::create_dir_all(dir.join(part)))?;
        }
        let port = free_port();
        let (name, program) = (name.to_owned(), program.to_owned());
        let address = "127.0.0.1".to_owned();
        let (environment, agent, namespace) = (Vec::new(), None, None);
        let host = TestHost { name, dir, port, address, program, environment, agent, namespace };
        host.configure(&[])?;
        Ok(host)
    }

    /// Writes the agent's configuration.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn configure(&self, replicates: &[Replicates<'_>]) -> Outcome<()> {
        let d = self.dir.display();
        let mut text = format!(
            "name = '{}'\nstate_dir = '{d}/state'\nreplica_dir = '{d}/replicas'\nruntime_dir = '{d}/run'\n\
             identity_dir = '{d}/identity'\nlisten = '{}:{}'\n",
            self.name, self.address, self.port
        );
        for r in replicates {
            text += &format!(
                "[[replicate]]\nmachine = '{}'\nfrequency = '{}'\ncompression = '{}'\n\
                 small_writes = '{}'\ntarget = {{ address = '{}:{}', server_name = '{}' }}\n",
                r.machine, r.frequency, r.compression, r.small_writes, r.to.address, r.to.port, r.to.name
            );
        }
        to("writing the configuration", fs::write(self.config(), text))
    }

    /// Adds lines to the configuration; keys belong to its last table unless they open one.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn configure_more(&self, lines: &str) -> Outcome<()> {
        let text = to("reading the configuration", fs::read_to_string(self.config()))?;
        to("writing the configuration", fs::write(self.config(), text + lines))
    }

    /// Puts the host into a network namespace, where it has this address.
    ///
    /// # Errors
    /// Where its configuration cannot be written.
    pub fn live_in(&mut self, namespace: &str, address: &str) -> Outcome<()> {
        (self.namespace, self.address) = (Some(namespace.to_owned()), address.to_owned());
        self.configure(&[])
    }

    /// A program as this host's own network sees it.
    #[must_use]
    pub fn here(&self, program: &Path) -> Command {
        in_namespace(self.namespace.as_deref(), program)
    }

    /// Gives the agents started from now on this environment, and no other of ours.
    pub fn set_environment(&mut self, variables: &[(&str, &str)]) {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment = variables.iter().map(own).collect();
    }

    /// Path of the configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.join("agent.toml")
    }

    /// How the host's hypervisor is reached, while no agent runs on it.
    #[must_use]
    pub fn hypervisor_uri(&self) -> String {
        format!("qemu:///embed?root={}", self.dir.join("state/libvirt").display())
    }

    /// Defines and starts a machine while no agent runs here, in a process of its own.
    ///
    /// # Errors
    /// What libvirt says.
    pub fn place(&self, xml: &str, how: Start) -> Outcome<()> {
        let file = self.dir.join("machine.xml");
        to("writing the definition", fs::write(&file, xml))?;
        let own = to("finding this program", std::env::current_exe())?;
        let how = if how == Start::Paused { "paused" } else { "running" };
        let begun = Instant::now();
        loop {
            let mut place = Command::new(&own);
            match run(place.args([PLACE_MACHINE, &self.hypervisor_uri(), how]).arg(&file)) {
                // A killed agent's watchdog mends what that left, and lets go of the host.
                Err(why) if why.contains("holds the embedded host") => {
                    if begun.elapsed() > AGENT_STARTS {
                        return Err(format!("waited in vain for the host of {}: {why}", self.name));
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
                placed => return placed.map(drop),
            }
        }
    }

    /// Starts the agent and waits until it answers. Its log goes to `agent.log`.
    ///
    /// # Errors
    /// Where it does not.
    pub fn start_agent(&mut self) -> Outcome<()> {
        let log = self.dir.join("agent.log");
        let log = to("opening the agent's log", fs::OpenOptions::new().create(true).append(true).open(log))?;
        let mut command = self.here(&self.program);
        command
            .arg("--config")
            .arg(self.config())
            .arg("serve")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.agent = Some(to("starting the agent", command.spawn())?);
        let begun = Instant::now();
        while self.status().is_err() {
            if begun.elapsed() > AGENT_STARTS {
                return Err(format!(
                    "waited in vain for the agent of {} to answer; see {}/agent.log",
                    self.name,
                    self.dir.display()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until the agent has its hypervisor open and knows what it can do: an embedded
    /// one tries every emulator that is installed, which takes seconds.
    ///
    /// # Errors
    /// Where that takes too long.
    pub fn settle(&self) -> Outcome<()> {
        let begun = Instant::now();
        while !self.log().contains("hypervisor ready") {
            if begun.elapsed() > AGENT_STARTS {
                return Err(format!("waited in vain for the agent of {} to reach its hypervisor", self.name));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends the agent as a power cut would.
    pub fn kill_agent(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // Gone already is as good.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    /// Process id of the agent, while one runs.
    #[must_use]
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// All that its agents have logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("agent.log")).unwrap_or_default()).into_owned()
    }

    /// Ends every QEMU of this host as a power cut would. Returns how many there were.
    #[must_use]
    pub fn kill_machines(&self) -> usize {
        let ours = self.machine_pids();
        for pid in &ours {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let begun = Instant::now();
        while !self.machine_pids().is_empty() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
        ours.len()
    }

    /// Process ids of this host's QEMUs with a machine: those that name its directory. Libvirt
    /// runs others for a moment, to see what they can do.
    #[must_use]
    pub fn machine_pids(&self) -> Vec<u32> {
        let is_machine = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("guest=")
        };
        self.pids("/usr/bin/qemu-system").into_iter().filter(is_machine).collect()
    }

    /// Process ids of the watchdogs of this host's agents.
    #[must_use]
    pub fn watchdog_pids(&self) -> Vec<u32> {
        let is_watchdog = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("watchdog")
        };
        self.pids(&self.program.display().to_string()).into_iter().filter(is_watchdog).collect()
    }

    /// Process ids of programs that name this host's directory.
    #[must_use]
    pub fn pids(&self, program: &str) -> Vec<u32> {
        let needle = self.dir.display().to_string();
        let is_ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.starts_with(program) && line.contains(&needle)
        };
        orphans::processes().filter(is_ours).collect()
    }

    /// Runs one of the agent's commands and gives its answer.
    ///
    /// # Errors
    /// What the command says.
    pub fn command<T: DeserializeOwned>(&self, args: &[&str]) -> Outcome<T> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config()).args(["--output", "json"]).args(args);
        let text = run(&mut command)?;
        to("reading the agent's answer", serde_json::from_str(&text))
    }

    /// The agent's status.
    ///
    /// # Errors
    /// What the command says.
    pub fn status(&self) -> Outcome<Status> {
        let status: Status = self.command(&["status"])?;
        match status.running {
            true => Ok(status),
            false => Err(format!("no agent runs on {}", self.name)),
        }
    }

    /// What the agent says of the only machine that it replicates.
    ///
    /// # Errors
    /// Where it does not replicate one.
    pub fn source(&self) -> Outcome<SourceLine> {
        self.status()?.sources.into_iter().next().ok_or_else(|| format!("{} replicates nothing", self.name))
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.kill_agent();
        let _ = self.kill_machines();
        // A watchdog would still look, and leave a directory behind.
        for watchdog in self.pids(&self.program.display().to_string()) {
            let _ = Command::new("kill").args(["-9", &watchdog.to_string()]).status();
        }
    }
}

/// A program in a network namespace, or where we are. Of everything else it sees the same, and
/// its process is the one that is started.
#[must_use]
pub fn in_namespace(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/var/run/netns/{namespace}")).arg("--").arg(program);
    command
}

/// The other process's part of [`TestHost::place`]: URI, `paused` or `running`, file.
///
/// # Errors
/// What libvirt says.
pub fn place_machine(args: &[String]) -> Outcome<()> {
    let [uri, how, file] = args else { return Err("usage: place-machine URI HOW FILE".to_owned()) };
    let xml = to("reading the definition", fs::read_to_string(file))?;
    let how = if how == "paused" { Start::Paused } else { Start::Running };
    let runtime = to("starting", tokio::runtime::Runtime::new())?;
    runtime.block_on(async {
        let host = Libvirt::open(uri).await.map_err(|e| e.to_string())?;
        let machine = host.define(&xml).await.map_err(|e| e.to_string())?;
        host.start(machine, how).await.map_err(|e| e.to_string())
    })
}

/// Runs a program to its end; its output, or its complaint.
///
/// # Errors
/// What it wrote to its standard error.
pub fn run(command: &mut Command) -> Outcome<String> {
    let out = to("running a program", command.stdin(Stdio::null()).output())?;
    match out.status.success() {
        true => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
    }
}

//! The program itself: exit statuses, messages, and what it leaves behind. No hypervisor
//! runs: the commands tried here need none, or must fail well without one.

#![expect(clippy::unwrap_used, reason = "a test may stop where its set-up fails")]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// A host's directory with a configuration.
struct Host {
    dir: TempDir,
}

impl Host {
    /// Its hypervisor cannot be reached.
    fn new() -> Host {
        Host::with("hypervisor = 'qemu:///embed?root=not-absolute'\n")
    }

    fn with(more: &str) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let text = format!(
            "name = 'here'\nlisten = ''\nstate_dir = '{}'\nreplica_dir = '{}'\nruntime_dir = '{}'\nidentity_dir = '{}'\n{more}",
            at("state"),
            at("replicas"),
            at("run"),
            at("identity")
        );
        fs::write(dir.path().join("agent.toml"), text).unwrap();
        Host { dir }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farshore-agent"));
        command.args(args).arg("--config").arg(self.path("agent.toml"));
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs an agent, and waits until it answers.
    fn serve(&self) -> Agent {
        let log = fs::File::create(self.path("log")).unwrap();
        let child = self.command(&["serve"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let agent = Agent(child);
        eventually("the agent answers", || self.answers());
        agent
    }

    /// Whether a running agent answered the command.
    fn answers(&self) -> bool {
        out(&self.run(&["status", "--output", "json"])).contains("\"running\": true")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }
}

/// Killed with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn term(agent: &Agent) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.0.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

#[test]
fn wrong_usage_is_status_2_and_a_failure_is_status_1_with_what_to_do() {
    let host = Host::new();
    assert_eq!(host.run(&["verify"]).status.code(), Some(2));
    assert_eq!(host.run(&["bring-up", "web1", "--point", "newest"]).status.code(), Some(2));
    assert_eq!(host.run(&["replicate", "web1", "--frequency", "100ms"]).status.code(), Some(2));
    assert_eq!(host.run(&["adopt", "web1", "--disk", "/only/a/path"]).status.code(), Some(2));
    let failed = host.run(&["verify", "web1"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(err(&failed).contains("no replica of machine 'web1'") && out(&failed).is_empty(), "{failed:?}");
    let failed = host.run(&["verify", "web1", "--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&failed)).unwrap();
    assert!(document["error"]["what"].as_str().unwrap().contains("web1"), "{document}");
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_named() {
    let host = Host::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farshore-agent"));
    let failed = command.args(["points", "--config", "/nowhere/agent.toml"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let text = err(&failed);
    assert!(text.contains("/nowhere/agent.toml") && text.contains("config sample"), "{text}");
    fs::write(host.path("agent.toml"), "listen = 3").unwrap();
    assert!(err(&host.run(&["points"])).contains("listen"));
}

#[test]
fn an_unknown_key_is_warned_of_and_stops_nothing() {
    let host = Host::with("reptention = 3\n");
    let done = host.run(&["points", "--output", "json"]);
    assert_eq!((done.status.code(), out(&done).trim()), (Some(0), "[]"));
    assert!(err(&done).contains("reptention"), "{}", err(&done));
}

#[test]
fn sample_completions_and_help_need_nothing() {
    let host = Host::new();
    let sample = out(&host.run(&["config", "sample"]));
    fs::write(host.path("agent.toml"), &sample).unwrap();
    assert!(out(&host.run(&["config", "show"])).contains("listen = \"0.0.0.0:7411\""));
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&host.run(&["completions", shell])).contains("bring-up"), "{shell}");
    }
    for command in ["points", "verify", "export", "bring-up", "discard", "replicate", "serve", "cert"] {
        let help = out(&host.run(&[command, "--help"]));
        assert!(help.contains(&format!("farshore-agent {command}")), "{help}");
    }
}

#[test]
fn certificates_are_made_shown_and_never_made_over() {
    let host = Host::new();
    let (ca, identity) = (host.path("ca"), host.path("identity"));
    let (ca, identity) = (ca.to_str().unwrap(), identity.to_str().unwrap());
    assert!(host.run(&["cert", "init", ca]).status.success());
    let again = host.run(&["cert", "init", ca]);
    assert!(again.status.code() == Some(1) && err(&again).contains("exists already"), "{again:?}");
    let issue =
        ["cert", "issue", "--ca", ca, "--host", "here.example", "--address", "127.0.0.1", "--out", identity];
    let issued = host.run(&issue);
    assert!(issued.status.success(), "{issued:?}");
    let shown = host.run(&["cert", "show", identity, "--output", "json"]);
    let document: serde_json::Value = serde_json::from_str(&out(&shown)).unwrap();
    assert_eq!(document["host"], "here.example");
    fs::remove_file(Path::new(identity).join("host.key")).unwrap();
    let broken = host.run(&["cert", "show", identity]);
    assert!(broken.status.code() == Some(1) && err(&broken).contains("host.key is missing"), "{broken:?}");
}

#[test]
fn commands_go_through_a_running_agent_and_a_second_agent_is_refused() {
    let host = Host::new();
    let quiet = out(&host.run(&["status", "--output", "json"]));
    assert!(quiet.contains("\"running\": false"), "{quiet}");
    let mut agent = host.serve();
    let status = out(&host.run(&["status", "--output", "json"]));
    assert!(status.contains("\"running\": true"), "{status}");
    let second = host.run(&["serve"]);
    assert!(second.status.code() == Some(1) && err(&second).contains("another agent runs"), "{second:?}");
    let status = host.run(&["status", "--output", "json"]);
    assert!(out(&status).contains("\"running\": true"), "the first one goes on: {status:?}");

    term(&agent);
    eventually("the agent ends", || agent.0.try_wait().unwrap().is_some());
    assert!(agent.0.wait().unwrap().success(), "{}", host.log());
    assert!(!host.path("run/agent.sock").exists());
    assert!(host.run(&["status"]).status.success());
}

#[test]
fn a_killed_agent_leaves_a_watchdog_that_acts_and_a_socket_that_is_no_agent() {
    let host = Host::new();
    let mut agent = host.serve();
    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    eventually(&format!("the watchdog acts: {}", host.log()), || host.log().contains("the agent is gone"));
    assert!(!host.answers());
    // A socket that was left behind is in nobody's way.
    let mut again = host.serve();
    assert!(host.answers());
    term(&again);
    eventually("the new agent ends", || again.0.try_wait().unwrap().is_some());
}

#[test]
fn a_hypervisor_that_cannot_be_reached_is_named_with_what_to_do() {
    let host = Host::new();
    let failed = host.run(&["machines"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(err(&failed).contains("not an absolute path"), "{}", err(&failed));
}

#[test]
fn an_agent_without_its_certificate_or_address_does_not_start() {
    let host = Host::new();
    let config = fs::read_to_string(host.path("agent.toml")).unwrap();
    fs::write(host.path("agent.toml"), config.replace("listen = ''", "listen = '127.0.0.1:0'")).unwrap();
    let failed = host.run(&["serve"]);
    assert!(failed.status.code() == Some(1) && err(&failed).contains("is missing"), "{failed:?}");
    fs::write(host.path("agent.toml"), config.replace("listen = ''", "listen = '256.0.0.1:1'")).unwrap();
    let failed = host.run(&["serve"]);
    assert!(err(&failed).contains("cannot listen on 256.0.0.1:1"), "{failed:?}");
}

#[test]
fn a_replica_directory_that_cannot_be_written_is_named_before_the_agent_serves() {
    let host = Host::new();
    let config = fs::read_to_string(host.path("agent.toml")).unwrap();
    let file = host.path("a-file");
    fs::write(&file, "mine").unwrap();
    let (usual, wrong) = (host.path("replicas"), file.join("replicas"));
    let config = config.replace(&usual.display().to_string(), &wrong.display().to_string());
    fs::write(host.path("agent.toml"), config).unwrap();
    let failed = host.run(&["serve"]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(err(&failed).contains(&wrong.display().to_string()), "{failed:?}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn commands_about_replicas_need_no_hypervisor() {
    let host = Host::new();
    let machine = "6f1de0b2-9a43-4d5c-8a0e-0123456789ab";
    fs::write(host.path("old"), [7; 4096]).unwrap();
    let disk = format!("vda={}", host.path("old").display());
    let adopted = host.run(&["adopt", machine, "--disk", &disk]);
    assert!(adopted.status.success(), "{adopted:?}");
    assert!(err(&adopted).contains("could not ask the hypervisor"), "the one that would like to ask says so");
    for args in [
        &["points"][..],
        &["points", machine],
        &["status"],
        &["discard", machine],
        &["drop-rescued", machine],
    ] {
        let done = host.run(args);
        assert!(done.status.success() && err(&done).is_empty(), "{args:?}: {done:?}");
    }
    for args in [["verify", machine, "--point", "1-1"], ["bring-up", machine, "--point", "1-1"]] {
        let failed = host.run(&args);
        assert!(err(&failed).contains("no recovery point 1-1"), "{args:?}: {failed:?}");
    }
}

#[test]
fn an_enrolment_that_cannot_be_says_why_and_leaves_nothing() {
    let host = Host::new();
    let output = host.run(&["enrol", "--key", "hello"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("no registration key") && told.contains("copy the key again"), "{told}");
    assert!(!host.path("identity").exists());
}

#[test]
fn an_agent_with_kerberos_starts_itself_for_its_keytab() {
    let keytab = "[kerberos]\nprincipal = 'farshore/here@TEST'\nkeytab = '/nowhere/keytab'\n";
    let host = Host::with(&format!("hypervisor = 'qemu:///embed?root=not-absolute'\n{keytab}"));
    let agent = host.serve();
    let variables = fs::read(format!("/proc/{}/environ", agent.0.id())).unwrap();
    let variables = String::from_utf8_lossy(&variables).into_owned();
    for wanted in
        ["KRB5_KTNAME=FILE:/nowhere/keytab", "KRB5_CLIENT_KTNAME=FILE:/nowhere/keytab", "KRB5CCNAME=MEMORY:"]
    {
        assert!(variables.contains(wanted), "{wanted}: {variables}");
    }
    // It serves all the same, and says what is missing.
    eventually("it names the keytab", || host.log().contains("keytab /nowhere/keytab cannot be read"));
}

//! A real guest, protected from the vault: two sites with their servers, two hosts that are
//! enrolled, a policy, one command. Then everything above the agents is killed, and
//! replication goes on.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use farshore_e2e::host::{TestHost, run};
use farshore_guest::Load;
use farshore_types::PointId;
use serde_json::Value;

use crate::site::{MACHINE, Site, program, wait};

/// The programs above the agents.
struct Above {
    dir: PathBuf,
    running: Vec<(String, Child)>,
}

impl Above {
    /// A vault with two sites, their servers running.
    fn new(dir: &Path) -> Above {
        let mut above = Above { dir: dir.to_owned(), running: Vec::new() };
        above.configure("vault", "");
        let config = above.config("vault");
        above.ok(&["vault", "init", "--config", &config]);
        above.start("vault", &["vault", "serve"]);
        wait("the vault to answer", || above.try_run(&["site", "list"]));
        for site in ["east", "west"] {
            above.configure(site, &format!("name = 'site-{site}'\n"));
            let key = above.json(&["site", "add", site])["key"].as_str().unwrap().to_owned();
            let config = above.config(site);
            above.ok(&["site", "enrol", "--key", &key, "--config", &config]);
            above.start(site, &["site", "serve"]);
            wait("a key for a host", || above.try_run(&["site", "host-key", "--config", &config]));
        }
        above
    }

    fn config(&self, name: &str) -> String {
        self.dir.join(format!("{name}.toml")).display().to_string()
    }

    fn configure(&self, name: &str, more: &str) {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let data = self.dir.join(name);
        let text = format!("data_dir = {data:?}\nlisten = '{address}'\naddress = '{address}'\n{more}");
        fs::write(self.config(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_test-farshore"));
        command.args(args).env("FARSHORE_CONTEXT", self.dir.join("context.toml"));
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        run(&mut self.command(args)).unwrap()
    }

    fn try_run(&self, args: &[&str]) -> Option<String> {
        run(&mut self.command(args)).ok()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--output", "json"]].concat())).unwrap()
    }

    fn start(&mut self, name: &str, args: &[&str]) {
        let log = self.dir.join(format!("{name}.log"));
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let config = self.config(name);
        let mut command = self.command(&[args, &["--config", &config]].concat());
        self.running.push((name.to_owned(), command.stdout(Stdio::null()).stderr(log).spawn().unwrap()));
    }

    /// As a power cut would.
    fn kill_all(&mut self) {
        for (_, mut child) in self.running.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Enrols a host at a site's server, by the agent's own command.
    fn enrol(&self, host: &TestHost, site: &str) {
        let config = self.config(site);
        let key = self.json(&["site", "host-key", "--config", &config])["key"].as_str().unwrap().to_owned();
        let mut command = Command::new(program());
        command.arg("--config").arg(host.config()).args(["enrol", "--key", &key]);
        command.args([
            "--address",
            "127.0.0.1",
            "--replication-address",
            &format!("127.0.0.1:{}", host.port),
        ]);
        run(&mut command).unwrap();
    }

    /// What the vault says of the guest's protection.
    fn protection(&self) -> Option<Value> {
        let text = self.try_run(&["status", "--output", "json"])?;
        let all: Value = serde_json::from_str(&text).ok()?;
        all["protections"].as_array()?.iter().find(|p| p["name"] == MACHINE).cloned()
    }

    fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.join(format!("{name}.log"))).unwrap_or_default();
        ["vault", "east", "west"].map(|name| format!("--- {name}\n{}", read(name))).concat()
    }
}

impl Drop for Above {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}\n{:?}", self.logs(), self.protection());
        }
        for (_, child) in &mut self.running {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The newest point of a protection; as texts, the tenth would come before the ninth.
fn newest(protection: &Value) -> Option<PointId> {
    protection["newest"].as_str()?.parse().ok()
}

#[test]
fn a_guest_is_protected_by_one_command_and_stays_so_when_all_above_the_agents_is_gone() {
    let mut site = Site::new(Load::default());
    let mut above = Above::new(site.dir.path());
    above.enrol(&site.home, "east");
    above.enrol(&site.away, "west");
    site.start_guest();
    site.home.start_agent().unwrap();
    site.away.start_agent().unwrap();
    wait("the vault to know the guest", || {
        let machines = above.json(&["machines"]);
        machines.as_array()?.iter().any(|machine| machine["name"] == MACHINE).then_some(())
    });
    let refused = run(&mut above.command(&["protect", MACHINE])).unwrap_err();
    assert!(refused.contains("nothing was changed"), "no pair and no policy yet: {refused}");
    above.ok(&["cloud", "pair", "east", "west"]);
    above.ok(&["policy", "add", "gold", "copy-frequency=1s"]);
    above.ok(&["cloud", "associate", "east", "--policy", "gold"]);
    // It waits for the first copy.
    above.ok(&["protect", MACHINE]);
    let jobs = above.json(&["job", "list", "--machine", MACHINE]);
    assert_eq!((&jobs[0]["kind"], &jobs[0]["state"]), (&"enable".into(), &"succeeded".into()), "{jobs}");
    let protected = wait("points that the vault knows", || {
        above.protection().filter(|p| p["points"].as_u64() >= Some(3) && p["state"] == "replicating")
    });
    assert!(protected["rpo_ms"].as_u64().unwrap() < 30_000, "{protected}");

    above.kill_all();
    let alone = site.next_point();
    std::thread::sleep(Duration::from_secs(3));
    let later = site.next_point();
    assert!(later.id.number > alone.id.number, "replication goes on without anybody above");
    above.start("vault", &["vault", "serve"]);
    above.start("east", &["site", "serve"]);
    above.start("west", &["site", "serve"]);
    wait("the vault to know what happened meanwhile", || {
        above
            .protection()
            .filter(|p| newest(p) >= Some(later.id) && p["points"].as_u64() > protected["points"].as_u64())
    });

    // A change of policy needs no new first copy, and a pause makes no points.
    above.ok(&["pause", MACHINE]);
    wait("the pause", || above.protection().filter(|p| p["state"] == "paused"));
    above.ok(&["resume", MACHINE]);
    site.next_point();
    above.ok(&["unprotect", MACHINE, "--keep-replica"]);
    wait("the end of replication", || site.home.source().is_err().then_some(()));
    assert!(!site.points().is_empty(), "the replica stays");

    // The day on which nothing above is left, and home neither: the agent's own command.
    above.kill_all();
    let _ = site.home.kill_machines();
    site.home.kill_agent();
    let boots = site.verdicts().len();
    let _: farshore_agent::control::BroughtUp = site.away.command(&["bring-up", MACHINE, "--force"]).unwrap();
    let verdict = wait("the guest's verdict", || site.verdicts().get(boots).copied());
    assert!(verdict.is_good() && verdict.last > 0, "{verdict}");
}

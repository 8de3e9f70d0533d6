//! What the demo plays on: the vault, the sites, their hosts, the guests.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use farshore_e2e::{
    host::{Outcome, TestHost},
    plane::Plane,
};
use farshore_guest::{Accelerator, Guest, GuestImage, Load, Verdict, domain_xml, read_verdicts};
use farshore_hypervisor::Start;

/// The site that is lost.
pub(crate) const EAST: &str = "east";
/// The site that stays.
pub(crate) const WEST: &str = "west";
/// The guests, each on a host of its own.
const GUESTS: [&str; 2] = ["web", "db"];
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything but the guests.
pub(crate) struct Stage {
    /// Hosts of the site that is lost.
    pub(crate) east: Vec<TestHost>,
    /// Hosts of the site that stays.
    pub(crate) west: Vec<TestHost>,
    pub(crate) plane: Plane,
}

impl Stage {
    /// A vault, two sites with their servers, two hosts each, enrolled; no agent runs yet.
    pub(crate) fn set(farshore: &Path, agent: &Path, dir: &Path) -> Outcome<Stage> {
        let mut plane = Plane::new(farshore, agent, dir, tell)?;
        let mut sites = Vec::new();
        for site in [EAST, WEST] {
            plane.add_site(site)?;
            let hosts = (1..=2).map(|n| {
                let host = TestHost::bare(agent, dir, &format!("{site}-{n}"))?;
                plane.enrol(&host, site)?;
                Ok(host)
            });
            sites.push(hosts.collect::<Outcome<Vec<_>>>()?);
        }
        let (west, east) = (sites.pop().unwrap_or_default(), sites.pop().unwrap_or_default());
        Ok(Stage { east, west, plane })
    }

    /// Starts all agents.
    pub(crate) fn start_agents(&mut self) -> Outcome<()> {
        self.east.iter_mut().chain(&mut self.west).try_for_each(|host| {
            tell(&host.name, "farshore-agent serve &");
            host.start_agent()
        })
    }

    /// Runs an operator's command and shows what it says.
    pub(crate) fn show(&self, args: &[&str]) -> Outcome<()> {
        let said = self.plane.operate(args)?;
        said.lines().for_each(|line| println!("  {line}"));
        Ok(())
    }

    /// Runs an operator's command; its answer is the same word as its name.
    pub(crate) fn order(&self, args: &[&str]) -> Outcome<()> {
        self.plane.operate(args).map(drop)
    }

    /// Whether the vault knows a point of a machine, and its first copy is whole.
    pub(crate) fn has_points(&self, machine: &str) -> bool {
        let protection = self.plane.protection(machine).unwrap_or_default();
        protection["points"].as_u64() >= Some(1) && protection["rpo_ms"].is_u64()
    }

    /// The host that keeps a machine's replica.
    pub(crate) fn keeper(&self, machine: &str) -> Outcome<&TestHost> {
        let keeps = |host: &&TestHost| {
            host.status().is_ok_and(|status| status.replicas.iter().any(|r| r.machine == machine))
        };
        self.west.iter().find(keeps).ok_or_else(|| format!("no host of {WEST} keeps a replica of {machine}"))
    }

    /// Bytes sent by the hosts of east.
    pub(crate) fn sent(&self) -> u64 {
        let sources = self.east.iter().filter_map(|host| host.status().ok()).flat_map(|s| s.sources);
        sources.map(|source| source.details["totals"]["sent"].as_u64().unwrap_or(0)).sum()
    }

    /// Bytes that east's machines wrote to files since they were started, by the kernel's
    /// count.
    pub(crate) fn written_by_machines(&self) -> u64 {
        let of = |pid: u32| -> Option<u64> {
            let io = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
            io.lines().find_map(|l| l.strip_prefix("wchar: "))?.trim().parse().ok()
        };
        self.east.iter().flat_map(TestHost::machine_pids).filter_map(of).sum()
    }
}

/// A guest and what it leaves to read.
pub(crate) struct Member {
    pub(crate) name: String,
    /// Its serial console.
    pub(crate) console: PathBuf,
    /// Its second disk, with its ledger.
    pub(crate) ledger: PathBuf,
}

impl Member {
    /// What it found at each of its boots.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        read_verdicts(&self.console).unwrap_or_default()
    }
}

/// The guests.
pub(crate) struct Cast {
    pub(crate) guests: Vec<Member>,
}

impl Cast {
    /// Starts one guest on each host of east; waits until they write.
    pub(crate) fn place(image: &GuestImage, stage: &Stage, dir: &Path) -> Outcome<Cast> {
        let mut guests = Vec::new();
        for (name, host) in GUESTS.into_iter().zip(&stage.east) {
            let disks = image.copy_to(&host.dir.join("images")).map_err(|e| e.to_string())?;
            let (console, ledger) = (dir.join(format!("{name}.console")), disks.disk2.clone());
            let guest = Guest {
                name: name.to_owned(),
                uuid: uuid::Uuid::new_v4().to_string(),
                disk1: disks.disk1,
                disk2: disks.disk2,
                console: console.clone(),
                accelerator: Accelerator::from_environment(),
                load: Load::default(),
            };
            host.place(&domain_xml(&guest), Start::Running)?;
            guests.push(Member { name: name.to_owned(), console, ledger });
        }
        wait("the guests to boot and write", || guests.iter().all(|guest| !guest.verdicts().is_empty()))?;
        say("A guest runs on each host of east: it has booted from its disk and keeps its ledger");
        Ok(Cast { guests })
    }
}

/// What happens next.
pub(crate) fn say(what: &str) {
    println!("==> {what}");
}

/// A command, as somebody would type it.
pub(crate) fn tell(place: &str, command: &str) {
    println!("{place:>8} $ {command}");
}

/// Waits until something has come about.
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) -> Outcome<()> {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited {} s in vain for {what}", PATIENCE.as_secs()));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

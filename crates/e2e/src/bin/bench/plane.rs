//! The control plane at the size that is promised: a vault, two site servers, and 200
//! simulated agents with 5,000 protected machines, which talk to them over TLS, in processes
//! of their own. This module must never help a program along.

mod agent;
mod operator;
mod processes;
mod swarm;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use farshore::views::{KeyView, MachineView, Ordered, Page, ProtectionState};
use farshore_e2e::{host::Outcome, plane::Plane};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    lab::{Lab, text},
    table::{Row, median, mib},
};
use agent::wall_ms;
use operator::{Operator, Read, Reader};
use processes::{Swarm, Took, Watched, busy};
use swarm::{Plan, PlannedHost};
pub(crate) use swarm::{SWARM, run as swarm};

/// Names of the sites: machines are on hosts of the first, their replicas on those of the other.
const SITES: [&str; 2] = ["east", "west"];
const HOSTS_A_SITE: u64 = 100;
const MACHINES_A_HOST: u64 = 50;
const MACHINES: usize = 5_000;
/// Most machines that are enabled by one order.
const ENABLE: usize = 500;
/// Protections of a page.
const PAGE: u32 = 100;
/// Seconds from one cycle to the next.
const FREQUENCY: u64 = 30;
/// How often a policy is changed.
const CHANGES: u64 = 5;
/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest wait for a program to be known to another.
const STARTS: Duration = Duration::from_secs(30);
/// How long everything is left alone before it is measured.
const SETTLES: Duration = Duration::from_secs(45);
/// What is to be reached: of a core, bytes, seconds of a page, seconds of a change.
const MOST: (f64, u64, f64, f64) = (0.25, 512 << 20, 0.03, 2.0);

/// Everything that runs.
struct World {
    plane: Plane,
    operator: Operator,
    swarms: Vec<Swarm>,
    _dir: tempfile::TempDir,
}

/// What was measured.
struct Figures {
    /// What the vault took with nobody looking, and with a reader.
    quiet: Took,
    read: Took,
    pages: Read,
    /// What site servers and agents took beside it.
    sites: Vec<Took>,
    agents: Vec<Took>,
    /// Enabling all, until each has a point.
    enabling: Duration,
    /// Seconds until all agents had a change.
    changes: Vec<f64>,
}

pub(crate) fn measure(lab: &Lab) -> Outcome<Vec<Row>> {
    let world = World::new(lab)?;
    let enabling = world.protect_all()?;
    sleep(SETTLES);
    let span = Duration::from_secs(60 * lab.arguments.plane_minutes) / 2;
    let quiet = world.watch_vault()?;
    sleep(span);
    let quiet = quiet.end()?;
    let watched = world.watch_vault()?;
    let sites = SITES.iter().map(|site| watch(world.plane.pid(site))).collect::<Outcome<Vec<_>>>()?;
    let agents = world.swarms.iter().map(|swarm| Watched::begin(swarm.pid())).collect::<Outcome<Vec<_>>>()?;
    let reader = Reader::begin(&world.operator, PAGE, MACHINES);
    sleep(span);
    let read = watched.end()?;
    let end = |all: Vec<Watched>| all.into_iter().map(Watched::end).collect::<Outcome<Vec<_>>>();
    let (sites, agents) = (end(sites)?, end(agents)?);
    let pages = reader.end()?;
    let changes = (0..CHANGES).map(|n| world.change_policy(n)).collect::<Outcome<Vec<_>>>()?;
    Ok(rows(&Figures { quiet, read, pages, sites, agents, enabling, changes }))
}

fn watch(pid: Option<u32>) -> Outcome<Watched> {
    Watched::begin(pid.ok_or("a program does not run")?)
}

impl World {
    /// Everything runs, and all hosts are enrolled.
    fn new(lab: &Lab) -> Outcome<World> {
        let dir = tempfile::Builder::new().prefix("plane-").tempdir_in(&lab.dir).map_err(text)?;
        let mut plane = Plane::new(&lab.farshore(), &lab.agent, dir.path(), |_, _| {})?;
        SITES.iter().try_for_each(|site| plane.add_site(site))?;
        let operator = Operator::of(&dir.path().join("context.toml"))?;
        let mut swarms = Vec::new();
        for (at, site) in SITES.iter().enumerate() {
            let host = |n: u64| {
                let name = format!("{site}-{n:03}");
                let path = format!("sites/{site}/host-registration");
                // Until the site server has said where it is, there is none.
                let key = in_time(|| operator.call::<KeyView>(&Method::POST, &path, None::<&Value>))?;
                let first = n * MACHINES_A_HOST;
                let machines = if at == 0 { first..first + MACHINES_A_HOST } else { 0..0 };
                Ok(PlannedHost { dir: dir.path().join("hosts").join(&name), name, key: key.key, machines })
            };
            let hosts = (0..HOSTS_A_SITE).map(host).collect::<Outcome<Vec<_>>>()?;
            swarms.push(Swarm::start(&Plan { hosts }, &dir.path().join(format!("agents-{site}")))?);
        }
        let world = World { plane, operator, swarms, _dir: dir };
        let all = usize::try_from(HOSTS_A_SITE).map_err(text)?;
        until("all hosts to be enrolled", || Ok(world.swarms.iter().all(|s| s.told().hosts == all)))?;
        println!("    {} simulated agents talk to two site servers", 2 * HOSTS_A_SITE);
        Ok(world)
    }

    /// Protects all machines by the API; what that takes until each has a point.
    fn protect_all(&self) -> Outcome<Duration> {
        let mut machines = Vec::new();
        until("the vault to know all machines", || {
            machines = self.machines()?;
            Ok(machines.len() == MACHINES)
        })?;
        let [source, target] = SITES;
        let order = |method: Method, path: &str, value: Value| {
            self.operator.call::<Ordered>(&method, path, Some(&value)).map(drop)
        };
        let settings = json!({ "copy_frequency_secs": FREQUENCY });
        order(Method::POST, "policies", json!({ "name": "gold", "settings": settings }))?;
        order(Method::PUT, &format!("clouds/{source}/pair"), json!({ "target": target }))?;
        order(Method::PUT, &format!("clouds/{source}/policy"), json!({ "policy": "gold" }))?;
        let begun = Instant::now();
        for some in machines.chunks(ENABLE) {
            order(Method::POST, "protections", json!({ "machines": some }))?;
        }
        println!("    all are enabled after {:.1} s", begun.elapsed().as_secs_f64());
        until("a point of every machine, and the end of all jobs", || {
            let (all, _) = self.operator.protections(1000)?;
            let whole =
                all.iter().filter(|p| p.state == ProtectionState::Replicating && p.points > 0).count();
            let jobs: Value = self.operator.get("jobs?state=open&limit=1")?;
            Ok(whole == MACHINES && jobs["items"].as_array().is_some_and(Vec::is_empty))
        })?;
        println!("    all have points after {:.1} s", begun.elapsed().as_secs_f64());
        Ok(begun.elapsed())
    }

    fn machines(&self) -> Outcome<Vec<String>> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let page: Page<MachineView> = self.operator.get(&format!("machines?limit=1000{cursor}"))?;
            all.extend(page.items.into_iter().map(|machine| machine.id.to_string()));
            let Some(next) = page.next else { return Ok(all) };
            cursor = format!("&cursor={next}");
        }
    }

    fn watch_vault(&self) -> Outcome<Watched> {
        watch(self.plane.pid("vault"))
    }

    /// Processor time of everything so far: vault, site servers, agents.
    fn busy(&self) -> Outcome<[Duration; 3]> {
        let of = |pids: Vec<u32>| pids.into_iter().map(busy).sum::<Outcome<Duration>>();
        let named = |names: &[&str]| names.iter().filter_map(|name| self.plane.pid(name)).collect();
        Ok([of(named(&["vault"]))?, of(named(&SITES))?, of(self.swarms.iter().map(Swarm::pid).collect())?])
    }

    /// Changes the policy; seconds until the last agent has all documents of it.
    fn change_policy(&self, n: u64) -> Outcome<f64> {
        let before: Vec<u64> = self.swarms.iter().map(|swarm| swarm.told().taken).collect();
        let settings = json!({ "keep_every_point_secs": 7200 + n });
        let (begun, busy) = (wall_ms(), self.busy()?);
        let _: Ordered = self.operator.call(&Method::PATCH, "policies/gold", Some(&settings))?;
        println!("    the change is answered after {} ms", wall_ms().saturating_sub(begun));
        let all = MACHINES as u64;
        let has = |(swarm, before): (&Swarm, &u64)| swarm.told().taken >= before + all;
        until("all agents to have the change", || Ok(self.swarms.iter().zip(&before).all(has)))?;
        let last = self.swarms.iter().map(|swarm| swarm.told().last_ms).max().unwrap_or(0);
        let took = Duration::from_millis(last.saturating_sub(begun)).as_secs_f64();
        let [vault, sites, agents] = self.busy()?;
        let [vault, sites, agents] = [vault - busy[0], sites - busy[1], agents - busy[2]];
        println!("    all agents have it after {took:.2} s; processor time meanwhile:");
        println!("    vault {vault:.2?}, site servers {sites:.2?}, agents {agents:.2?}");
        // What follows of it is over when the next one is made.
        sleep(SETTLES / 3);
        Ok(took)
    }
}

/// Tries until it works, for a while.
fn in_time<T>(mut work: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(_) if begun.elapsed() < STARTS => sleep(Duration::from_millis(100)),
            done => return done,
        }
    }
}

fn until(what: &str, mut done: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited {} s in vain for {what}", PATIENCE.as_secs()));
        }
        sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn rows(figures: &Figures) -> Vec<Row> {
    let (share, memory, page, change) = MOST;
    let percent = |took: &Took| format!("{:.1} %", took.share * 100.0);
    let all = |took: &[Took], of: fn(&Took) -> String| took.iter().map(of).collect::<Vec<_>>().join(", ");
    let bound = |measure: &str, ours: String, against: String, reach: &'static str, reached: bool| Row {
        measure: measure.to_owned(),
        figure: ours.clone(),
        ours,
        against,
        reach,
        reached: Some(reached),
    };
    let Read { walks, oldest_ms, .. } = figures.pages;
    let mut pages = figures.pages.pages.clone();
    pages.sort_by(f64::total_cmp);
    let (p50, p99) = (median(&pages), quantile(&pages, 0.99));
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1000.0);
    let mut changes = figures.changes.clone();
    changes.sort_by(f64::total_cmp);
    let slowest = quantile(&changes, 1.0);
    let most_memory = figures.quiet.memory.max(figures.read.memory);
    let beside = format!(
        "site servers {}; agents {}",
        all(&figures.sites, |took| format!("{:.1} %", took.share * 100.0)),
        all(&figures.agents, |took| format!("{:.1} %", took.share * 100.0))
    );
    vec![
        bound(
            "5,000 machines on 200 hosts, 30 s cycles: vault, of one core",
            percent(&figures.quiet),
            beside,
            "≤ 25 %",
            figures.quiet.share <= share,
        ),
        bound(
            "… while the list is read all the time",
            percent(&figures.read),
            format!("{} pages read", pages.len()),
            "≤ 25 %",
            figures.read.share <= share,
        ),
        bound(
            "… vault, memory",
            mib(most_memory),
            format!("site servers {}", all(&figures.sites, |took| mib(took.memory))),
            "≤ 512 MiB",
            most_memory <= memory,
        ),
        bound(
            "… a page of 100 of the list of all, new connection included: p99",
            ms(p99),
            format!("p50 {}, {} walks; no RPO over {} s", ms(p50), walks, oldest_ms.div_ceil(1000)),
            "≤ 30 ms",
            p99 <= page,
        ),
        bound(
            "… a policy change, from the order to the last of 200 agents: slowest of 5",
            format!("{slowest:.2} s"),
            format!("median {:.2} s", median(&changes)),
            "≤ 2 s",
            slowest <= change,
        ),
        Row::shown(
            "… enabling all 5,000, until the vault knows a point of each (copies take a cycle)",
            format!("{:.0} s", figures.enabling.as_secs_f64()),
            String::new(),
            format!("{:.0} s", figures.enabling.as_secs_f64()),
        ),
    ]
}

/// Of sorted values the one below which that share is.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::INFINITY)
}

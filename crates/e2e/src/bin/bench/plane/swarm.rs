//! A process of simulated agents: enrols its hosts by the keys that it is given, lets them
//! talk, and says what they have taken, a line of JSON whenever that has changed.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed},
    },
    time::Duration,
};

use farshore_agent::membership::{Membership, Wanted, enrol, parse_key};
use farshore_control::enrolment::Reach;
use farshore_e2e::host::Outcome;
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::sleep};

use super::agent::{Agent, Tally};
use crate::lab::text;

/// First argument of the process.
pub(crate) const SWARM: &str = "plane-agents";
/// Most hosts that enrol at once.
const ENROL_MAX: usize = 8;
/// How often it is looked whether there is something to say.
const LOOK: Duration = Duration::from_millis(10);
/// Where nobody listens: simulated agents have no data path.
const NOWHERE: &str = "127.0.0.1:9";

/// The hosts of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) hosts: Vec<PlannedHost>,
}

/// A host to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlannedHost {
    pub(super) name: String,
    /// Its registration key.
    pub(super) key: String,
    /// Where its identity is kept.
    pub(super) dir: PathBuf,
    /// Numbers of its machines.
    pub(super) machines: std::ops::Range<u64>,
}

/// What a process says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// Hosts that are enrolled and talk.
    pub(super) hosts: usize,
    /// Documents of protections that were taken.
    pub(super) taken: u64,
    /// When the last of them was, in milliseconds since the Unix epoch.
    pub(super) last_ms: u64,
}

/// The process: runs until it is killed, or until nobody reads what it says.
pub(crate) fn run(args: &[String]) -> Outcome<()> {
    let path = args.first().ok_or("the plan is missing")?;
    let plan: Plan = serde_json::from_slice(&fs::read(path).map_err(text)?).map_err(text)?;
    tokio::runtime::Runtime::new().map_err(text)?.block_on(live(plan))
}

async fn live(plan: Plan) -> Outcome<()> {
    let (tally, mut talking, mut enrolling) = (Arc::new(Tally::default()), JoinSet::new(), JoinSet::new());
    let mut hosts = plan.hosts.into_iter();
    for host in hosts.by_ref().take(ENROL_MAX) {
        enrolling.spawn(agent(host, Arc::clone(&tally)));
    }
    while let Some(enrolled) = enrolling.join_next().await {
        talking.spawn(enrolled.map_err(text)??.talk());
        if let Some(host) = hosts.next() {
            enrolling.spawn(agent(host, Arc::clone(&tally)));
        }
    }
    let mut said = Told::default();
    loop {
        // In this order: the time is that of the last that is said to be taken, or later.
        let taken = tally.taken.load(Acquire);
        let now = Told { hosts: talking.len(), taken, last_ms: tally.last_ms.load(Relaxed) };
        if now != said {
            println!("{}", serde_json::to_string(&now).map_err(text)?);
            said = now;
        }
        sleep(LOOK).await;
    }
}

async fn agent(host: PlannedHost, tally: Arc<Tally>) -> Outcome<Arc<Agent>> {
    let addresses = vec!["127.0.0.1".to_owned()];
    let reach = Reach { name: host.name, addresses, replication: Some(NOWHERE.to_owned()), principal: None };
    let key = parse_key(&host.key).map_err(text)?;
    enrol(&host.dir, &Wanted { key, reach, anew: false }).await.map_err(text)?;
    let membership = Membership::load(&host.dir).map_err(text)?.ok_or("it is not enrolled")?;
    let upstream = membership.upstreams().into_iter().next().ok_or("there is nobody to talk to")?;
    Ok(Arc::new(Agent::new(membership.host(), upstream, host.machines, tally)))
}

//! A policy comes to hold for a cloud: every host of the pair is configured and looked at, and
//! what stands against it is told host by host. None of it takes the association back.

use farshore_job::{JobError, Known, Node, Order, Retry, StepSpec};
use farshore_types::{CloudId, HostId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CHECK_MS, Kind, act::Act, asking, input_of, value_of, waiting};

/// Most hosts of the other cloud that one host tries to reach.
pub(super) const PEERS_MAX: usize = 8;
/// Steps and groups that one host takes.
const NODES_A_HOST: usize = 4;
/// Most hosts that are looked at; of larger clouds the first.
pub(crate) const HOSTS_MAX: usize = (farshore_job::STEPS_MAX - 1) / NODES_A_HOST;

/// What such a job is made with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Associate {
    pub(crate) cloud: CloudId,
    pub(crate) name: String,
    pub(crate) policy: String,
    pub(crate) hosts: Vec<Member>,
}

/// A host of the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) host: HostId,
    pub(crate) name: String,
    /// Those of the other cloud that it is to reach, and to fit together with.
    pub(crate) peers: Vec<HostId>,
}

/// The hosts of a pair, each with those of the other cloud that it is to reach: all of a small
/// cloud, of a large one some, so that every host is reached by somebody.
pub(crate) fn members(here: &[(HostId, String)], there: &[(HostId, String)]) -> Vec<Member> {
    let of = |some: &[(HostId, String)], others: &[(HostId, String)]| -> Vec<Member> {
        let member = |(at, (host, name)): (usize, &(HostId, String))| {
            let peers = others.iter().cycle().skip(at * PEERS_MAX).take(others.len().min(PEERS_MAX));
            // Two clouds of one site can share no host, but a host never reaches itself.
            let peers = peers.map(|(peer, _)| *peer).filter(|peer| peer != host).collect();
            Member { host: *host, name: name.clone(), peers }
        };
        some.iter().enumerate().map(member).collect()
    };
    [of(here, there), of(there, here)].concat()
}

pub(super) struct Definition;

impl farshore_job::Definition for Definition {
    fn kind(&self) -> &'static str {
        Kind::Associate.name()
    }

    fn title(&self, input: &Value) -> String {
        let of = |key: &str| input[key].as_str().unwrap_or("?").to_owned();
        format!("Policy '{}' for cloud '{}'", of("policy"), of("name"))
    }

    fn plan(&self, input: &Value) -> Result<Vec<Node>, JobError> {
        let Associate { hosts, .. } = input_of(input)?;
        let hosts = hosts.iter().take(HOSTS_MAX).map(of_host).collect();
        Ok(vec![Node::group("hosts", "Configure and check every host", Order::Parallel, hosts)])
    }

    fn action(&self, step: &str, known: &Known<'_>) -> Value {
        let Ok(Associate { hosts, .. }) = input_of(known.input()) else { return Value::Null };
        let Some((what, host)) = step.split_once('-') else { return Value::Null };
        let Some(Member { host, peers, .. }) = hosts.into_iter().find(|m| m.host.to_string() == host) else {
            return Value::Null;
        };
        match what {
            "configure" => value_of(&Act::Configured { host }),
            "fit" => value_of(&Act::Fit { host, with: peers }),
            "reach" => value_of(&Act::Reaches { host, peers }),
            _ => Value::Null,
        }
    }
}

fn of_host(member: &Member) -> Node {
    let Member { host, name, peers } = member;
    let stays = "the policy holds all the same";
    let look = StepSpec { retry: Retry { attempts: 1, ..Retry::default() }, ..waiting(CHECK_MS, stays) };
    let reach = StepSpec { deadline_ms: Some(CHECK_MS), ..asking(CHECK_MS) };
    let steps = vec![
        Node::step(&format!("configure-{host}"), &format!("Configure '{name}'"), look.clone()),
        Node::step(&format!("fit-{host}"), &format!("Clock, room and versions of '{name}'"), look),
        Node::step(
            &format!("reach-{host}"),
            &format!("'{name}' reaches {} hosts of the other cloud", peers.len()),
            reach,
        ),
    ];
    Node::group(&format!("host-{host}"), &format!("Host '{name}'"), Order::Sequence, steps)
}

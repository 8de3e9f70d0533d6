//! The explorer: every order of what can happen, from a beginning, breadth first, each world
//! once. A fault is told with the way that led to it.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

use farshore_protection::{Operation, State};

use crate::{
    acts::{Act, all, apply},
    never,
    settle::Settler,
    world::World,
};

/// Of how many worlds one is tried for a way out, besides the first of each kind.
const TRIED: usize = 8;

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) states: usize,
    /// Worlds from which a way out was looked for.
    pub(crate) tried: usize,
    /// Operations that were ordered and carried out.
    pub(crate) ordered: BTreeSet<Operation>,
    /// States in which a life was.
    pub(crate) lives: BTreeSet<State>,
    pub(crate) fault: Option<String>,
}

/// What tells worlds from each other for a person who has to get out of one: where the life that
/// counts is, and of each host whether it runs the machine, owns it, is sealed, meets another owner;
/// whether both know of one owner, and whether the sites see each other.
type Kind = (Option<State>, [(bool, bool, bool, bool, bool); 2], bool, bool);

fn kind(world: &World) -> Kind {
    let life = world.speaker().and_then(|at| world.vaults[at].as_ref()).map(|vault| vault.life.state());
    let hosts = [0, 1].map(|at| {
        let (agent, lineage) = (&world.agents[at], &world.agents[at].lineage);
        let owns = lineage.owner == crate::world::host(at);
        (agent.up, agent.runs, owns, lineage.seal.is_some(), lineage.conflict.is_some())
    });
    (life, hosts, world.epoch(0) == world.epoch(1), world.cut)
}

/// Explores at most `most` worlds.
pub(crate) fn explore(beginning: &World, most: usize, settler: &mut Settler) -> Found {
    let (acts, hasher) = (all(), RandomState::new());
    let mut found = Found::default();
    let mut kinds: HashSet<Kind> = HashSet::new();
    // Of each world: its parent, and what led to it. The worlds themselves are let go.
    let mut seen: HashMap<u64, (u64, Option<Act>)> = HashMap::new();
    let mut queue = VecDeque::new();
    let root = hasher.hash_one(beginning);
    seen.insert(root, (root, None));
    queue.push_back((root, beginning.clone()));
    let mut looked = 0;
    while let Some((from, world)) = queue.pop_front() {
        looked += 1;
        found.lives.extend(world.vaults.iter().flatten().map(|vault| vault.life.state()));
        if kinds.insert(kind(&world)) || looked % TRIED == 1 {
            found.tried += 1;
            if let Some(trap) = settler.trap(&world) {
                let fault = Some(format!("{trap}\n{}", way(&seen, from, None)));
                return Found { states: seen.len(), fault, ..found };
            }
        }
        for act in &acts {
            let Some(next) = apply(&world, *act) else { continue };
            if let Act::Order { operation, .. } = act {
                found.ordered.insert(*operation);
            }
            if let Some(fault) = never::fault(&world, *act, &next) {
                let fault = Some(format!("{fault}\n{}", way(&seen, from, Some(*act))));
                return Found { states: seen.len(), fault, ..found };
            }
            let key = hasher.hash_one(&next);
            if seen.len() < most && !seen.contains_key(&key) {
                seen.insert(key, (from, Some(*act)));
                queue.push_back((key, next));
            }
        }
    }
    Found { states: seen.len(), ..found }
}
/// What led to a world.
fn way(seen: &HashMap<u64, (u64, Option<Act>)>, to: u64, last: Option<Act>) -> String {
    let (mut at, mut acts) = (to, Vec::new());
    while let Some((parent, Some(act))) = seen.get(&at) {
        acts.push(format!("{act:?}"));
        at = *parent;
    }
    acts.reverse();
    acts.extend(last.map(|act| format!("{act:?}")));
    acts.join(" > ")
}

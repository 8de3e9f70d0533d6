//! The explorer: every order of what can happen, from a beginning, breadth first, each world
//! once. A fault is told with the way that led to it.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use crate::{
    acts::{Act, all, apply},
    never, settle,
    world::World,
};

/// Of how many worlds one is tried for a way out: that costs hundreds of steps.
const TRIED: usize = 97;

/// What was found.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) fault: Option<String>,
}

/// Explores at most `most` worlds.
pub(crate) fn explore(beginning: &World, most: usize) -> Found {
    let (acts, hasher) = (all(), RandomState::new());
    // Of each world: its parent, and what led to it. The worlds themselves are let go.
    let mut seen: HashMap<u64, (u64, Option<Act>)> = HashMap::new();
    let mut queue = VecDeque::new();
    let root = hasher.hash_one(beginning);
    seen.insert(root, (root, None));
    queue.push_back((root, beginning.clone()));
    let mut looked = 0;
    while let Some((from, world)) = queue.pop_front() {
        looked += 1;
        if looked % TRIED == 1
            && let Some(trap) = settle::trap(&world)
        {
            return Found { states: seen.len(), fault: Some(format!("{trap}\n{}", way(&seen, from, None))) };
        }
        for act in &acts {
            let Some(next) = apply(&world, *act) else { continue };
            if let Some(fault) = never::fault(&world, *act, &next) {
                let fault = Some(format!("{fault}\n{}", way(&seen, from, Some(*act))));
                return Found { states: seen.len(), fault };
            }
            let key = hasher.hash_one(&next);
            if seen.len() < most && !seen.contains_key(&key) {
                seen.insert(key, (from, Some(*act)));
                queue.push_back((key, next));
            }
        }
    }
    Found { states: seen.len(), fault: None }
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

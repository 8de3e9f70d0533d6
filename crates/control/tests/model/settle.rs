//! Never stuck without a way out: when faults are over, and somebody follows what is advised,
//! the machine runs on one side again, and the vault knows where.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

use farshore_protection::{Flat, Operation, State};

use crate::{
    acts::{Act, apply},
    vault::Vault,
    world::{Ghost, Left, Pull, World},
};

/// Rounds after which a world has to be settled.
const ROUNDS: usize = 12;

/// The world when everything that was broken is mended.
fn mended(world: &World) -> World {
    let mut world = world.clone();
    world.cut = false;
    for at in 0..2 {
        if !world.agents[at].up {
            world = apply(&world, Act::Boot(at)).unwrap();
        }
    }
    world.left = Left { orders: 9, faults: 9, writes: 0, alone: 0 };
    // What only an observer knows, and what nobody asks for any more, is nothing to the way out.
    (world.ghost, world.backup, world.tokens) = (Ghost::default(), None, 100);
    // Two vaults of one term: one of them is promoted anew.
    if let [Some(first), Some(second)] = &world.vaults
        && first.version.term.number == second.version.term.number
    {
        world.vaults[1] = Some(Vault::again(&second.kept(), 91));
    }
    spoken_for(world)
}

/// Where no vault speaks, the warm copy that is the newest is promoted.
fn spoken_for(mut world: World) -> World {
    if world.speaker().is_none() {
        world.vaults = [None, None];
        let term = |at: &usize| world.relays[*at].warm.as_ref().map(|warm| warm.version.term.number);
        let at = (0..2).max_by_key(term).unwrap();
        world = apply(&world, Act::Promote(at)).unwrap();
    }
    world
}

/// Everything that goes on by itself, until nothing does.
fn converge(world: &mut World) {
    for _ in 0..40 {
        let Some(speaker) = world.speaker() else { return };
        let before = world.clone();
        for at in 0..2 {
            let acts = [
                Act::Tell(at),
                Act::Hear { vault: speaker, site: at },
                Act::Fetch { site: at, vault: speaker },
                Act::Pull(at),
                Act::Next(at),
                Act::Beside(at),
                Act::Send(at),
                Act::Cycle(at),
            ];
            for act in acts {
                if let Some(next) = apply(world, act) {
                    *world = next;
                }
            }
        }
        if *world == before {
            return;
        }
    }
}

/// What somebody does who reads the state and what is advised, and who ordered `last` before.
fn advised(world: &World, last: Option<Act>) -> Option<Act> {
    let vault = world.speaker()?;
    let life = &world.vaults[vault].as_ref()?.life;
    let winner = world.running().first().copied().unwrap_or(0);
    let order = |operation| Some(Act::Order { vault, operation, winner });
    match life.state() {
        State::Contested => order(Operation::DeclareWinner),
        // Nobody knows that the other side has refused it for good, before it is given up.
        State::Sealed if last == order(Operation::Complete) => order(Operation::Abort),
        State::Sealed => order(Operation::Complete),
        State::Aborting if world.talk() && apply(world, order(Operation::TakeBack)?).is_some() => {
            order(Operation::TakeBack)
        }
        _ if life.has_open_drill() => order(Operation::CleanUp),
        State::Disabled => None,
        _ if world.running().is_empty() => order(Operation::UnplannedFailover),
        State::FailedOver | State::MovedOver => order(Operation::Commit),
        State::Committed => order(Operation::Reverse),
        _ if life.paused => order(Operation::Resume),
        _ => None,
    }
}

/// Whether the machine runs on one side, and the vault knows where; and nothing is left of what
/// went beside it.
fn is_settled(world: &World) -> bool {
    let Some(vault) = world.speaker().and_then(|at| world.vaults[at].as_ref()) else { return false };
    let life = &vault.life;
    let left = world.agents.iter().any(|agent| agent.copy.is_some() || agent.pull == Pull::Runs);
    let wanted = life.drill.is_some() || life.paused || life.flat == Flat::Flattening;
    match life.state() {
        State::Disabled => !left,
        State::Protected => !left && !wanted && world.told_to_run().is_some_and(|at| world.running() == [at]),
        _ => false,
    }
}

/// Looks for ways out, and remembers worlds that have one: most ways meet soon.
#[derive(Default)]
pub(crate) struct Settler {
    hasher: RandomState,
    settled: HashSet<u64>,
}

impl Settler {
    /// What the world cannot get out of, if it cannot.
    pub(crate) fn trap(&mut self, world: &World) -> Option<String> {
        let (mut world, mut way, mut last) = (mended(world), Vec::new(), None);
        for _ in 0..ROUNDS {
            world = spoken_for(world);
            if self.is_known(&world, &mut way) {
                return None;
            }
            converge(&mut world);
            if is_settled(&world) || self.is_known(&world, &mut way) {
                self.settled.extend(way);
                return None;
            }
            // One that heard of a higher term is nobody to order from: the next one is promoted.
            if world.speaker().is_none() {
                continue;
            }
            last = advised(&world, last);
            match last.and_then(|act| apply(&world, act)) {
                Some(next) => world = next,
                None => break,
            }
        }
        let state = world.speaker().map(|at| world.vaults[at].as_ref().unwrap().life.clone());
        Some(format!(
            "stuck: runs on {:?}, agents {:?}, the vault says {state:?}",
            world.running(),
            world.agents
        ))
    }

    /// Whether a way out of a world was found before; else it is put on the way.
    fn is_known(&mut self, world: &World, way: &mut Vec<u64>) -> bool {
        let key = self.hasher.hash_one(world);
        let known = self.settled.contains(&key);
        if known {
            self.settled.extend(way.drain(..));
        } else {
            way.push(key);
        }
        known
    }
}

/// What the world cannot get out of, if it cannot, looked at for itself.
pub(crate) fn trap(world: &World) -> Option<String> {
    Settler::default().trap(world)
}

//! The world: what is durable, what is only in memory, and what is on its way.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use farshore_control::{
    Part, Version,
    ownership::{Heard, Lineage, Seal},
};
use farshore_protection::{BroughtUp, Copying, Life, Wanted, fence::Boots};
use farshore_types::{Epoch, HostId, MachineId};
use uuid::Uuid;

use crate::vault::{Kept, Vault};

pub(crate) const MACHINE: MachineId = MachineId(Uuid::from_u128(9));

pub(crate) fn host(at: usize) -> HostId {
    HostId(Uuid::from_u128(at as u128 + 1))
}

pub(crate) fn place(of: HostId) -> usize {
    usize::from(of != host(0))
}

/// A document: the life itself, of which each host reads what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doc {
    /// What it is told from others by: it never changes, and is in a world many times.
    key: u64,
    pub(crate) version: Version,
    pub(crate) life: Life,
    /// Since when each part of it is as it is.
    pub(crate) decided: BTreeMap<Part, Version>,
}

impl Hash for Doc {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key);
    }
}

/// How far a pull is by which the machine gets disks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pull {
    None,
    Runs,
    Done,
}

impl Doc {
    pub(crate) fn new(version: Version, life: Life, decided: BTreeMap<Part, Version>) -> Doc {
        let mut hasher = DefaultHasher::new();
        (version, &life, &decided).hash(&mut hasher);
        Doc { key: hasher.finish(), version, life, decided }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.life.wanted()
    }
}

/// A host with its agent. Disks are numbers: each write appends a digit that says who wrote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    /// Durable.
    pub(crate) lineage: Lineage,
    pub(crate) doc: Option<Arc<Doc>>,
    /// The machine's disks here, if there are any of which it ran.
    pub(crate) disk: Option<u32>,
    /// Points that the replica here holds, and the newest of them.
    pub(crate) points: BTreeSet<u32>,
    pub(crate) newest: Option<u32>,
    pub(crate) brought_up: Option<BroughtUp>,
    pub(crate) adopted: Option<Epoch>,
    /// By which it judges whether a witness is needed.
    pub(crate) boots: Boots<u8>,
    /// What the other host has acknowledged.
    pub(crate) acked: Option<u32>,
    /// How replication stood, by which epoch, when a cycle arrived there last.
    pub(crate) synced: Option<(Epoch, Copying)>,
    /// The order of the test failover whose copy is here. Never the machine.
    pub(crate) copy: Option<u64>,
    pub(crate) pull: Pull,
    /// What a crash brings back: nothing, but where the rule of the fsync is taken away.
    pub(crate) unsynced: Option<Lineage>,
    /// In memory.
    pub(crate) up: bool,
    pub(crate) runs: bool,
    /// Which boot of the host this is.
    pub(crate) boot: u8,
    /// Whether nobody has said in this boot that the machine is this host's: what is so,
    /// whatever the agent holds of it.
    pub(crate) booted: bool,
    pub(crate) fresh: bool,
    pub(crate) seal_in: Option<Seal>,
}

/// What an agent said last, as far as its site server heard it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Told {
    pub(crate) lineage: Lineage,
    pub(crate) runs: bool,
    pub(crate) brought_up: Option<BroughtUp>,
    pub(crate) adopted: bool,
    pub(crate) whole_point: bool,
    pub(crate) synced: Option<(Epoch, Copying)>,
    pub(crate) copy: Option<u64>,
    pub(crate) flat: bool,
    pub(crate) doc: Option<Arc<Doc>>,
}

/// A site server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Relay {
    pub(crate) doc: Option<Arc<Doc>>,
    /// Whether the vault has said lately that this is the newest.
    pub(crate) fresh: bool,
    pub(crate) report: Option<Arc<Told>>,
    pub(crate) warm: Option<Arc<Kept>>,
}

/// How much of everything may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Left {
    pub(crate) orders: u8,
    pub(crate) faults: u8,
    pub(crate) writes: u8,
    pub(crate) alone: u8,
}

/// What an observer knows that nobody in the world does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    /// Somebody has confirmed that the machine may run twice.
    pub(crate) confirmed: bool,
    /// Epochs that hosts issued by themselves.
    pub(crate) alone: Vec<Epoch>,
    /// What the disks were when the machine was sealed for an epoch without loss.
    pub(crate) sealed: Option<(Epoch, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) agents: [Agent; 2],
    pub(crate) relays: [Relay; 2],
    pub(crate) vaults: [Option<Vault>; 2],
    pub(crate) backup: Option<Arc<Kept>>,
    pub(crate) cut: bool,
    pub(crate) left: Left,
    pub(crate) ghost: Ghost,
    pub(crate) tokens: u8,
}

impl World {
    /// Everything is well: the machine runs on host 0, host 1 has a point of it.
    pub(crate) fn protected() -> World {
        let epoch = Epoch { number: 1, token: 1 };
        let mut life = Life::begin(host(0), host(1), epoch);
        life.copying = farshore_protection::Copying::Steady;
        let mut vault = Vault::begin(life);
        let doc = vault.publish();
        let agent = |at: usize| Agent {
            lineage: Lineage::new(MACHINE, epoch, host(0)),
            doc: doc.clone(),
            disk: (at == 0).then_some(1),
            points: if at == 0 { BTreeSet::new() } else { [1].into() },
            newest: (at == 1).then_some(1),
            brought_up: None,
            adopted: None,
            boots: Boots::default(),
            acked: (at == 0).then_some(1),
            synced: None,
            copy: None,
            pull: Pull::None,
            unsynced: None,
            up: true,
            runs: at == 0,
            boot: 0,
            booted: false,
            fresh: true,
            seal_in: None,
        };
        let mut agents = [agent(0), agent(1)];
        agents[0].boots.look(&0, true, false);
        agents[1].boots.know(&0);
        let relay = |at: usize| Relay {
            doc: doc.clone(),
            fresh: true,
            report: Some(Arc::new(agents[at].told())),
            warm: Some(Arc::new(vault.kept())),
        };
        let relays = [relay(0), relay(1)];
        vault.told = [0, 1].map(|at| Some(Arc::new(agents[at].told())));
        World {
            agents,
            relays,
            vaults: [Some(vault), None],
            backup: None,
            cut: false,
            left: Left { orders: 2, faults: 2, writes: 1, alone: 1 },
            ghost: Ghost::default(),
            tokens: 10,
        }
    }

    pub(crate) fn token(&mut self) -> u128 {
        self.tokens += 1;
        u128::from(self.tokens)
    }

    /// Whether what is at one site reaches what is at the other.
    pub(crate) fn reach(&self, from: usize, to: usize) -> bool {
        from == to || !self.cut
    }

    /// Whether the two agents talk.
    pub(crate) fn talk(&self) -> bool {
        !self.cut && self.agents.iter().all(|agent| agent.up)
    }
}

/// A rule of the agent's own, taken away on purpose: its epoch is not durable when it acts by it,
/// and what has run on by then is forgotten with the next start of the agent (R2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    ActsUnsynced,
}

thread_local! {
    static ACTIVE: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Does something with a bug switched on.
pub(crate) fn with_bug<T>(bug: Bug, what: impl FnOnce() -> T) -> T {
    ACTIVE.set(Some(bug));
    let done = what();
    ACTIVE.set(None);
    done
}

impl Agent {
    /// What would be on its disk, if it acted before that is durable.
    pub(crate) fn before_the_fsync(&mut self) {
        if ACTIVE.get() == Some(Bug::ActsUnsynced) {
            self.unsynced = Some(self.lineage.clone());
        }
    }

    /// An agent that is started knows what is on its disk.
    pub(crate) fn reads_its_ledger(&mut self) {
        if let Some(lineage) = self.unsynced.take() {
            self.lineage = lineage;
        }
    }

    /// Takes notice of an epoch, from wherever, as the ledger does.
    pub(crate) fn hear(&mut self, epoch: &Epoch, owner: HostId) {
        if self.lineage.hear(epoch, owner) == Heard::Superseded {
            self.is_told();
        }
    }

    /// The machine is off; what was done to its disks while it ran has gone with it.
    pub(crate) fn is_off(&mut self) {
        (self.runs, self.pull) = (false, Pull::None);
    }

    /// In this boot it is known whose the machine is.
    pub(crate) fn is_told(&mut self) {
        self.boots.know(&self.boot);
        self.booted = false;
    }

    pub(crate) fn told(&self) -> Told {
        Told {
            lineage: self.lineage.clone(),
            runs: self.runs,
            brought_up: self.brought_up,
            adopted: self.adopted == Some(self.lineage.epoch),
            whole_point: self.newest.is_some() || self.disk.is_some(),
            synced: self.synced,
            copy: self.copy,
            flat: self.pull == Pull::Done,
            doc: self.doc.clone(),
        }
    }
}

//! Failures and delays on demand. This module must never know what an operation does.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::{HypervisorError, Kind, Result};

/// An operation that can be made to fail or wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the contract's operation of that name")]
pub enum Operation {
    HostFacts,
    Machines,
    Machine,
    Define,
    Undefine,
    Start,
    Resume,
    Suspend,
    ShutDown,
    Destroy,
    Unplug,
    HasRun,
    SetAutostart,
    Networks,
    CheckStartable,
    Checkpoints,
    DeleteCheckpoint,
    BeginBackup,
    OpenExport,
    EndBackup,
    BeginPull,
    EndPull,
    Job,
    Freeze,
    Thaw,
    IsFrozen,
    /// `Export::allocated`.
    Allocated,
    /// `Export::dirty`.
    Dirty,
    /// `Export::read`.
    Read,
}

/// Keeps an operation's calls waiting until it is dropped.
pub struct Gate {
    _open_when_dropped: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct Faults {
    planned: Vec<Planned>,
    gates: BTreeMap<Operation, watch::Receiver<()>>,
    calls: BTreeMap<Operation, u64>,
}

struct Planned {
    operation: Operation,
    calls_left: u32,
    kind: Kind,
    after_effect: bool,
}

/// What a call has ahead of it.
#[derive(Default)]
pub(super) struct Fate {
    pub(super) before: Option<Kind>,
    pub(super) after: Option<Kind>,
    pub(super) gate: Option<watch::Receiver<()>>,
}

impl Faults {
    pub(super) fn add(&mut self, operation: Operation, nth: u32, kind: Kind, after_effect: bool) {
        self.planned.push(Planned { operation, calls_left: nth, kind, after_effect });
    }

    pub(super) fn hold(&mut self, operation: Operation) -> Gate {
        let (sender, receiver) = watch::channel(());
        self.gates.insert(operation, receiver);
        Gate { _open_when_dropped: sender }
    }

    pub(super) fn calls(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or(0)
    }

    /// Counts a call and says what becomes of it.
    pub(super) fn next(&mut self, operation: Operation) -> Fate {
        *self.calls.entry(operation).or_default() += 1;
        let mut fate = Fate { gate: self.gates.get(&operation).cloned(), ..Fate::default() };
        self.planned.retain_mut(|planned| {
            if planned.operation != operation {
                return true;
            }
            planned.calls_left = planned.calls_left.saturating_sub(1);
            if planned.calls_left > 0 {
                return true;
            }
            let slot = if planned.after_effect { &mut fate.after } else { &mut fate.before };
            *slot = Some(planned.kind);
            false
        });
        fate
    }
}

impl Fate {
    /// Waits at the gate, then fails where that is planned.
    pub(super) async fn meet(&mut self, verb: &'static str) -> Result<()> {
        if let Some(gate) = &mut self.gate {
            // Never changes; ends when the gate is dropped.
            while gate.changed().await.is_ok() {}
        }
        self.before.map_or(Ok(()), |kind| Err(planned(verb, kind)))
    }

    /// Replaces a success by the failure planned for after it.
    pub(super) fn conclude<T>(self, verb: &'static str, result: Result<T>) -> Result<T> {
        match (self.after, result) {
            (Some(kind), Ok(_)) => Err(planned(verb, kind)),
            (_, result) => result,
        }
    }
}

fn planned(verb: &'static str, kind: Kind) -> HypervisorError {
    HypervisorError::new(verb, kind, "the test wants it so")
}

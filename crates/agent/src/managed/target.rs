//! Replicas under a vault: where they are, what they keep, who may write them, and that an
//! owner who was superseded writes no more. This module must never delete a replica.

use std::{path::PathBuf, sync::Arc, time::Duration};

use farshore_control::{ownership::Heard, report::Problem};
use farshore_link::Caller;
use farshore_replica::{Phase, Replica};
use farshore_types::{Epoch, HostId, MachineId};
use farshore_wire::{Hello, Refusal, RefusalCode};

use super::{
    Managed,
    admission::{self, Admission},
    fencing::{self, Fence},
    locked, wanted,
};
use crate::{Agent, AgentError, Config, OpenReplica};

/// Beginning of the codes of problems with one replica.
const PROBLEM: &str = "replica-";

/// Longest wait of a session for what is here to become the replica, and pause between looks.
const TURNS_IN: Duration = Duration::from_secs(1);
const TURN_POLL: Duration = Duration::from_millis(20);

/// Makes the replicas of this host what is wanted of them.
pub(super) async fn settle(agent: &Arc<Agent>, managed: &Arc<Managed>) -> Result<(), AgentError> {
    for machine in wanted_here(managed) {
        let made = make(agent, managed, machine).await;
        let problem = made.err().map(|error| error.fault());
        let code = format!("{PROBLEM}{machine}");
        managed.set_problem(&code, problem.map(|fault| (fault.what, fault.advice)));
    }
    for machine in agent.replicas().machines()? {
        let Ok(replica) = agent.replicas().get_or_create(machine).await else {
            // It is reported as unusable.
            continue;
        };
        let (pruning, halted, plain, wire) = {
            let ledger = managed.ledger();
            let wire = ledger.protection(machine).map(|protection| protection.settings.wire);
            let (pruning, plain) = (wanted::pruning(&ledger, machine), wanted::is_plain(&ledger, machine));
            (pruning, admission::halted(&ledger, machine), plain, wire)
        };
        replica.set_pruning(pruning);
        replica.set_plain(plain);
        replica.set_wire(wire);
        replica.set_halted(halted);
        fence(managed, &replica).await?;
    }
    Ok(())
}

/// The machines whose replica this host is to have.
fn wanted_here(managed: &Managed) -> Vec<MachineId> {
    let ledger = managed.ledger();
    ledger.protections().filter(|p| wanted::is_target(p, managed.me)).map(|p| p.machine).collect()
}

/// Sees to it that a replica is there, in its place.
async fn make(agent: &Arc<Agent>, managed: &Arc<Managed>, machine: MachineId) -> Result<(), AgentError> {
    let (place, held) = {
        let ledger = managed.ledger();
        let place = ledger.protection(machine).and_then(|p| p.place.clone()).map(PathBuf::from);
        (place, ledger.places().get(&machine).cloned())
    };
    if agent.replicas().exists(machine) {
        return match place == held {
            true => Ok(()),
            false => Err(AgentError::Request {
                what: format!(
                    "the replica of {machine} is in {}, another place is wanted",
                    agent.replicas().dir_of(machine).display()
                ),
                advice: "it stays where it is: moving a replica is a request of its own".to_owned(),
            }),
        };
    }
    if place != held {
        let chosen = place.clone();
        let choose = move |ledger: &mut super::ledger::Ledger| (ledger.set_place(machine, chosen), true);
        managed.change(choose).await?;
    }
    agent.replicas().set_place(machine, place);
    agent.replicas().get_or_create(machine).await.map(drop)
}

/// An owner of before writes no more, and what this host's own store has learned is known
/// (rules R1, R2, R4).
async fn fence(managed: &Arc<Managed>, replica: &Arc<OpenReplica>) -> Result<(), AgentError> {
    let machine = replica.machine();
    let (held, phase) = replica.run(|store| (store.epoch(), store.phase())).await;
    let step = fencing::fence(&managed.ledger(), machine, held, phase == Phase::Receiving);
    match step {
        Fence::Nothing => {}
        Fence::Hear { epoch, owner } => {
            let find = move |ledger: &mut super::ledger::Ledger| {
                let heard = ledger.find(machine, &epoch, owner);
                (heard, matches!(heard, Heard::Superseded | Heard::Conflict))
            };
            let heard = managed.change(find).await?;
            if heard == Heard::Conflict {
                replica.set_halted(admission::halted(&managed.ledger(), machine));
            }
        }
        Fence::Take { epoch, name } => {
            replica.run(move |store: &mut Replica| store.begin_session(&epoch, &name)).await?;
            tracing::info!(%machine, epoch = epoch.number, "the replica takes this epoch from now on");
        }
    }
    Ok(())
}

fn hear(
    ledger: &mut super::ledger::Ledger,
    machine: MachineId,
    epoch: &Epoch,
    owner: HostId,
) -> (Heard, bool) {
    let heard = ledger.hear(machine, epoch, owner);
    (heard, matches!(heard, Heard::Superseded | Heard::Conflict))
}

impl Managed {
    /// Why a replica takes nothing yet. What was heard of just now is seen to within moments, which
    /// are waited for: else every protection would begin with a session that is tried in vain.
    async fn not_yet(&self, agent: &Agent, machine: MachineId) -> Option<Refusal> {
        let begun = tokio::time::Instant::now();
        loop {
            let refusal = self.is_turning(machine).or_else(|| self.is_placing(agent, machine))?;
            if begun.elapsed() >= TURNS_IN {
                return Some(refusal);
            }
            tokio::time::sleep(TURN_POLL).await;
        }
    }

    /// Whether a source may have a session now. `known` are peers that this host's own
    /// configuration names; they count for machines that no document names.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        agent: &Agent,
        peer: &Caller,
        hello: &Hello,
        known: bool,
    ) -> Result<(), Refusal> {
        let (machine, epoch) = (hello.machine, hello.epoch);
        if let Some(refusal) = self.not_yet(agent, machine).await {
            return Err(refusal);
        }
        let judged = admission::judge(&self.ledger(), machine, peer, &epoch);
        let (hear_of, verdict) = match judged {
            Admission::Yes { hear } => (hear, Ok(())),
            Admission::No { refusal, hear } => (hear, Err(refusal)),
            Admission::Unnamed if known || writes_already(agent, machine, peer).await => {
                (None, check_proof(agent.config(), peer))
            }
            Admission::Unnamed => {
                let message =
                    format!("no document of the vault lets host '{peer}' replicate this machine to here");
                (
                    None,
                    Err(Refusal::new(
                        RefusalCode::NotAuthorised,
                        message,
                        "enable its protection at the vault",
                    )),
                )
            }
        };
        if let Some((epoch, owner)) = hear_of {
            let heard = self.change(move |ledger| hear(ledger, machine, &epoch, owner)).await;
            heard.map_err(|error| {
                let advice = "it is tried again";
                Refusal::new(RefusalCode::Other, error.fault().what, advice)
            })?;
        }
        verdict
    }

    /// A session that comes before the replica is in its place would make it in another one.
    fn is_placing(&self, agent: &Agent, machine: MachineId) -> Option<Refusal> {
        let place = PathBuf::from(self.ledger().protection(machine)?.place.clone()?);
        let replicas = agent.replicas();
        let elsewhere = replicas.dir_of(machine) != place.join(machine.to_string());
        (elsewhere && !replicas.exists(machine)).then(|| {
            let why = "the place for the replica is being made ready";
            Refusal::new(RefusalCode::Busy, why, "it is tried again by itself")
        })
    }

    /// Whether a host may ask what runs here.
    pub(crate) fn may_ask(&self, peer: &Caller) -> bool {
        admission::may_ask(&self.ledger(), &peer.name)
    }

    /// Problems with the host as a whole.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        locked(&self.problems).values().cloned().collect()
    }
}

/// What this host's own configuration says counts where no document does.
pub(crate) fn check_proof(config: &Config, peer: &Caller) -> Result<(), Refusal> {
    admission::unproved(config.wire_of(&peer.name), peer).map_or(Ok(()), Err)
}

/// Replication from before there was a vault goes on (rule R5).
async fn writes_already(agent: &Agent, machine: MachineId, peer: &Caller) -> bool {
    let Ok(Some(replica)) = agent.replicas().get(machine).await else { return false };
    replica.run(|store| store.writer().map(str::to_owned)).await.as_deref() == Some(peer.name.as_str())
}

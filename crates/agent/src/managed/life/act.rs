//! Does the next thing about a machine, as it was decided. Each may be done again after a
//! crash; what changes who owns the machine is durable before it is acted on. This module must
//! never decide what is next.

use std::{pin::pin, sync::Arc, time::Duration};

use farshore_capture::{Activity, Left};
use farshore_control::ownership::{Denied, Seal};
use farshore_hypervisor::Kind;
use farshore_protection::{
    Want,
    fence::{self, Answered, AtBoot, Do, Fence, Voice},
};
use farshore_types::{Epoch, PointRef};
use tokio::time::timeout;

use super::{
    super::{Managed, ledger::Ledger, locked, room::Room},
    letters::Refuses,
    look::{self, Seen, left},
    said, start, turn,
};
use crate::{Agent, AgentError};

/// How long a copy that is another host's may take to shut down before it is switched off.
const FENCE_PATIENCE: Duration = Duration::from_secs(20);
/// How long a cycle that is under way is waited for before a guest is asked to stop, and for how long
/// none begins then.
const CYCLE_ENDS: Duration = Duration::from_secs(10);
const STILL_FOR: Duration = Duration::from_secs(30);
/// How often it is asked whether the last cycle has arrived, and the machine looked at for that.
const REST_POLL: Duration = Duration::from_millis(20);
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// How long the last cycle is waited for before everything is looked at anew.
const REST_LOOK: Duration = Duration::from_secs(10);

impl Managed {
    /// Does it. Whether everything is to be looked at again at once.
    pub(super) async fn act(
        self: &Arc<Self>,
        agent: &Arc<Agent>,
        seen: &Seen,
        what: Do,
    ) -> Result<bool, AgentError> {
        let machine = seen.protection.machine;
        // Whoever has told of another owner meanwhile was answered that nothing is being done.
        if self.ledger().lineage(machine) != Some(&seen.lineage) {
            return Ok(true);
        }
        match what {
            Do::Nothing => return Ok(false),
            Do::Hear => {
                let (epoch, owner) = (seen.wanted.epoch, seen.wanted.owner);
                self.change(move |ledger| (ledger.hear(machine, &epoch, owner), true)).await?;
            }
            Do::Start => {
                start::start(agent, self, seen).await?;
                self.starts_unasked(seen).await?;
            }
            Do::AskWitness => return self.start_after_boot(agent, seen).await,
            Do::AskRefusal(next) => return self.take_seal_back(agent, seen, next).await,
            Do::ShutDown { power_off } => {
                self.asks(seen).await?;
                let done = tokio::select! {
                    done = self.shut_down(agent, seen, power_off) => done,
                    // A guest that takes its time does not keep anybody from giving the move up.
                    () = self.until_told_otherwise(machine, seen.mine) => Ok(()),
                };
                self.is_asked_now(machine);
                done?;
            }
            Do::SendRest => self.send_rest(agent, seen).await?,
            Do::Seal(next) => self.seal(agent, seen, next).await?,
            Do::Accept(seal) => start::accept(agent, self, seen, seal).await?,
            Do::Refuse(next) => {
                let refuse = move |ledger: &mut Ledger| {
                    let refused = ledger.refuse(machine, &next);
                    let changed = refused.is_ok();
                    (refused, changed)
                };
                self.change(refuse).await?.map_err(|denied| denied_error(&denied))?;
            }
            Do::BringUp { point, overlay, order } => {
                start::bring_up(agent, self, seen, (point, overlay, order)).await?;
            }
            Do::Fence(Fence::Isolate) if seen.station.fenced == Some(seen.lineage.epoch) => {
                // Somebody may have started it anew since, with its cables in.
                self.note_cut_off(seen).await?;
                agent.hypervisor().await?.unplug(machine).await?;
                return runs_isolated(seen);
            }
            Do::Fence(fence) => self.fence_copy(agent, seen, fence).await?,
            Do::Adopt if seen.station.has_turned(&seen.lineage) => return Ok(false),
            Do::Adopt => turn::turn(agent, self, seen).await?,
        }
        Ok(true)
    }

    /// No cycle is under way while the guest stops, and none begins: libvirt would not see for half a
    /// minute that a machine with an open backup is off. A guest that takes longer goes on being
    /// replicated.
    async fn shut_down(&self, agent: &Agent, seen: &Seen, power_off: bool) -> Result<(), AgentError> {
        let hurry = locked(&self.rooms).get(&seen.protection.machine).map(Room::pace);
        let still = match &hurry {
            Some(hurry) => timeout(CYCLE_ENDS, hurry.still()).await.ok(),
            None => None,
        };
        let mut off = pin!(shut_down(agent, seen, power_off));
        match timeout(STILL_FOR, &mut off).await {
            Ok(done) => done,
            Err(_) => {
                drop(still);
                off.await
            }
        }
    }

    /// Waits until the other host has everything.
    async fn send_rest(&self, agent: &Agent, seen: &Seen) -> Result<(), AgentError> {
        let Some(there) = &seen.there else {
            return Err(AgentError::Request {
                what: "the machine is not defined here any more: its last state cannot be sent".to_owned(),
                advice: "define it again, and it goes on; or fail over unplanned, to the newest point"
                    .to_owned(),
            });
        };
        if there.saved {
            return Err(look::saved(", or start it (`virsh start`), or abort the move"));
        }
        self.hurry(there.id);
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < REST_LOOK {
            tokio::time::sleep(REST_POLL).await;
            // To look at the machine costs the hypervisor time, of which the cycle needs all.
            let source = agent.sources().of(there.id);
            if source.is_some_and(|source| source.status.borrow().activity != Activity::Off) {
                continue;
            }
            let now = agent.hypervisor().await?.machine(there.id).await?;
            if now.power.is_off() && left(agent, &now).await?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(AgentError::Request {
            what: self.why_not_sent(there.id),
            advice:
                "look at the line to the other host and its space; it goes on by itself, or abort the move"
                    .to_owned(),
        })
    }

    /// The seal is durable before the other host hears of it (rule R3).
    async fn seal(self: &Arc<Self>, agent: &Arc<Agent>, seen: &Seen, next: Epoch) -> Result<(), AgentError> {
        let machine = seen.protection.machine;
        let planned = matches!(seen.mine, Want::HandOver { last_cycle: true, .. });
        let last = match (planned, &seen.there) {
            (true, Some(there)) => left(agent, there).await?.map(|Left { point, .. }| point),
            _ => self.stands_on(agent, seen).await?,
        };
        let Some(last) = last else {
            return Err(AgentError::Request {
                what: "the point by which the machine would be handed over is not known".to_owned(),
                advice: "it is looked for again".to_owned(),
            });
        };
        let me = self.host();
        let sealed = self
            .change(move |ledger| {
                let sealed = ledger.seal(machine, me, last, next);
                let changed = sealed.is_ok();
                (sealed, changed)
            })
            .await?;
        let seal = sealed.map_err(|denied| denied_error(&denied))?;
        tracing::info!(%machine, last = %seal.last.id, next = next.number, "sealed for the next owner");
        self.deliver(agent, seal).await
    }

    /// The point on which a machine that is handed back was brought up here.
    async fn stands_on(&self, agent: &Agent, seen: &Seen) -> Result<Option<PointRef>, AgentError> {
        let machine = seen.protection.machine;
        let up = seen.station.brought_up.filter(|up| up.epoch == seen.lineage.epoch);
        let at = up.or(seen.station.coming_up_by(&seen.lineage)).and_then(|up| up.at);
        // What was accepted and never came up stands at its seal, whatever ran here before.
        let by_seal = at.is_none() && !seen.station.starts_as_left;
        let accepted = seen.station.accepted_for(&seen.lineage).filter(|_| by_seal);
        if let Some(seal) = accepted {
            return Ok(Some(seal.last));
        }
        let Some(replica) = agent.replicas().get(machine).await? else { return Ok(None) };
        let found = replica
            .run(move |store| {
                let known = at.and_then(|at| store.point(at).ok());
                known.map(|point| PointRef { id: point.id, root: point.root }).or(store.last())
            })
            .await;
        Ok(found)
    }

    /// Sends a seal that the other host may not have; until it has it, again.
    pub(super) async fn deliver_seal(self: &Arc<Self>, agent: &Agent, seen: &Seen) -> Result<(), AgentError> {
        match seen.station.undelivered(&seen.lineage) {
            Some(seal) => self.deliver(agent, seal).await,
            None => Ok(()),
        }
    }

    async fn deliver(self: &Arc<Self>, agent: &Agent, seal: Seal) -> Result<(), AgentError> {
        self.tell_sealed(agent, seal).await?;
        let delivered = move |ledger: &mut Ledger| {
            ledger.station_mut(seal.machine).delivered = Some(seal.next);
            ((), true)
        };
        self.change(delivered).await
    }

    /// The machine runs again where it was sealed, once the other host has refused for good.
    async fn take_seal_back(
        self: &Arc<Self>,
        agent: &Agent,
        seen: &Seen,
        next: Epoch,
    ) -> Result<bool, AgentError> {
        let machine = seen.protection.machine;
        match self.ask_refusal(agent, machine, next).await? {
            Refuses::Yes => {
                let unsealed = self
                    .change(move |ledger| {
                        let unsealed = ledger.unseal(machine, &next);
                        let changed = unsealed.is_ok();
                        (unsealed, changed)
                    })
                    .await?;
                unsealed.map_err(|denied| denied_error(&denied))?;
                Ok(true)
            }
            Refuses::No(epoch, owner) if epoch.number >= next.number => {
                self.change(move |ledger| (ledger.hear(machine, &epoch, owner), true)).await?;
                Ok(true)
            }
            Refuses::No(..) => Err(AgentError::Request {
                what: "the other host has neither accepted nor refused the machine yet".to_owned(),
                advice: "it is asked again".to_owned(),
            }),
        }
    }

    /// After a boot of this host the machine starts when the other one says that it has not
    /// taken over (rule R8).
    async fn start_after_boot(self: &Arc<Self>, agent: &Arc<Agent>, seen: &Seen) -> Result<bool, AgentError> {
        let machine = seen.protection.machine;
        let nonce = uuid::Uuid::new_v4().as_u128();
        let asked = self.ask_witness(agent, machine, nonce).await;
        let answers: Vec<Answered> =
            asked.into_iter().map(|witness| Answered { by: Voice::OtherHost, witness }).collect();
        let overridden = self.is_overridden(machine);
        match fence::at_boot(&seen.lineage, self.host(), nonce, &answers, overridden) {
            AtBoot::Start => self.set_held(machine, false),
            AtBoot::StartOverridden => {
                self.set_held(machine, false);
                tracing::warn!(%machine, "started after a boot without a witness: a person here said so");
            }
            AtBoot::Hold(reason) => {
                self.set_held(machine, true);
                return Err(AgentError::Request { what: reason.what, advice: reason.advice });
            }
            AtBoot::Never(reason) => {
                self.set_held(machine, false);
                return Err(AgentError::Request { what: reason.what, advice: reason.advice });
            }
        }
        self.set_doing(machine, said(&Do::Start));
        if self.ledger().lineage(machine) != Some(&seen.lineage) {
            return Ok(true);
        }
        self.change(move |ledger| (ledger.know(machine), true)).await?;
        start::start(agent, self, seen).await?;
        Ok(true)
    }

    /// A copy that is another host's runs no more, or is cut off.
    async fn fence_copy(self: &Arc<Self>, agent: &Agent, seen: &Seen, how: Fence) -> Result<(), AgentError> {
        let (machine, epoch) = (seen.protection.machine, seen.lineage.epoch);
        // One that was never this protection's is nobody's to stop.
        if turn::own_disks_of(agent, seen) == turn::OwnDisks::Strange {
            return Err(turn::strange(seen));
        }
        let hypervisor = agent.hypervisor().await?;
        match how {
            Fence::Stop => {
                if hypervisor.shut_down(machine, FENCE_PATIENCE).await.is_err() {
                    hypervisor.destroy(machine).await?;
                }
            }
            Fence::Isolate => {
                self.note_cut_off(seen).await?;
                hypervisor.unplug(machine).await?;
            }
        }
        if seen.lineage.owner == self.host() {
            return Err(AgentError::Request {
                what: "somebody started the machine here though it is sealed for the other host, which may \
                       start it at any moment: it was stopped"
                    .to_owned(),
                advice: "abort the move, and it runs here again".to_owned(),
            });
        }
        tracing::warn!(%machine, ?how, epoch = epoch.number, "this host's copy is fenced: another host owns it");
        let fenced = move |ledger: &mut Ledger| {
            ledger.station_mut(machine).fenced = Some(epoch);
            ((), true)
        };
        self.change(fenced).await
    }

    /// Durable before its cables are pulled: only a start puts them back.
    async fn note_cut_off(self: &Arc<Self>, seen: &Seen) -> Result<(), AgentError> {
        let machine = seen.protection.machine;
        let note = move |ledger: &mut Ledger| {
            let before = std::mem::replace(&mut ledger.station_mut(machine).cut_off, true);
            ((), !before)
        };
        self.change(note).await
    }
}

/// A copy that runs on without any network keeps its disks from becoming the replica.
fn runs_isolated(seen: &Seen) -> Result<bool, AgentError> {
    match seen.mine {
        Want::Adopt | Want::Receive => Err(AgentError::Request {
            what:
                "a copy that is another host's runs here, isolated, so that its disks cannot be the replica"
                    .to_owned(),
            advice: "shut it down when nobody needs it any more".to_owned(),
        }),
        _ => Ok(false),
    }
}

/// What there is to do about a guest that does not shut down. The vault gives the move up.
const NOT_DOWN: &str = "look at the guest's console; ten minutes after it was ordered the move is given up, \
                        and the machine runs on; `farshore protection abort` gives it up now, and a move that \
                        is ordered with `--power-off` switches the machine off instead";

/// Waits for a guest to shut down.
async fn shut_down(agent: &Agent, seen: &Seen, power_off: bool) -> Result<(), AgentError> {
    let machine = seen.protection.machine;
    let hypervisor = agent.hypervisor().await?;
    // One whose processors stand still heeds nothing.
    if hypervisor.machine(machine).await?.power.is_paused() {
        if power_off {
            tracing::warn!(%machine, "it is paused, and is switched off as was ordered");
            return Ok(hypervisor.destroy(machine).await?);
        }
        return Err(AgentError::Request {
            what: "the machine is paused, and so cannot shut down".to_owned(),
            advice: "resume it (`virsh resume`), or abort the move and order it with --power-off".to_owned(),
        });
    }
    match hypervisor.shut_down(machine, agent.config().shutdown_deadline.0).await {
        Err(error) if error.kind == Kind::Timeout && power_off => {
            tracing::warn!(%machine, "it does not shut down, and is switched off as was ordered");
            Ok(hypervisor.destroy(machine).await?)
        }
        Err(error) if error.kind == Kind::Timeout => {
            let what = AgentError::from(error).fault().what;
            Err(AgentError::Request { what, advice: NOT_DOWN.to_owned() })
        }
        done => Ok(done?),
    }
}

pub(super) fn denied_error(denied: &Denied) -> AgentError {
    AgentError::Request { what: denied.to_string(), advice: String::new() }
}

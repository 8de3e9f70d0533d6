//! What a protection's life wants of this host, carried out: for each machine everything is
//! looked at, the next thing is decided (`protection::fence::converge`), done, and all is
//! looked at again, until nothing is to be done. Level-triggered: a document that comes late,
//! twice or not at all changes only when. This module must never decide who owns a machine.
//!
//! ```text
//! document (a life) ─► look ─► converge ─► act ─► look …     letters ◄─► the other host's agent
//!                       └► what runs, what is sealed, whether the vault's word is of now
//! ```

mod act;
mod addresses;
mod asked;
mod autostart;
mod beside;
mod drill;
mod flatten;
mod glass;
mod letters;
mod look;
mod start;
mod startable;
mod station;
mod told;
mod turn;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use farshore_control::{
    Protection,
    report::{Problem, SourcePhase},
    standing::{Doing, Flattening},
};
use farshore_protection::{
    Stage, Want,
    fence::{Do, converge},
};
use farshore_replica::Replica;
use farshore_types::{DiskKey, HostId, MachineId};
use farshore_wire::{Refusal, RefusalCode};
use tokio_util::sync::CancellationToken;

use super::{Managed, ledger::Ledger, locked, wanted::Role};
use crate::{Agent, AgentError};
pub(crate) use glass::ByHand;
use look::Seen;
pub(super) use station::Station;
pub(super) use told::standings;
pub(super) use turn::home_definition;

/// How long a word of the vault's that stops a guest holds, since it was asked for.
const FRESH: Duration = Duration::from_secs(60);
/// Pause before what could not be done is tried again; it doubles up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How often it is looked whether something else is wanted while something is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What of a machine is seen to by itself: none waits for another, however long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Who runs it, and whose replica is here.
    Course,
    /// Whether its disks are made its own.
    Flatten,
    /// Everything that nobody waits for in a failover.
    Beside,
}

/// What is being done now. In memory only: a new run looks at everything anew.
#[derive(Default)]
pub(super) struct Acting {
    busy: BTreeSet<(MachineId, Side)>,
    doing: BTreeMap<MachineId, Doing>,
    cannot: BTreeMap<MachineId, Problem>,
    overridden: BTreeSet<MachineId>,
    /// Why test failovers cannot be opened, or (true) removed.
    drills: BTreeMap<MachineId, (bool, Problem)>,
    /// How far flattening is.
    flattening: BTreeMap<MachineId, Flattening>,
    /// Disks of which a block pull was begun.
    pulls: BTreeMap<MachineId, DiskKey>,
    /// Which addresses were reserved at the last look.
    addressed: BTreeMap<MachineId, addresses::Addressed>,
    /// Whether machines of which the replica is here could start here.
    looked: BTreeMap<MachineId, startable::Looked>,
    /// Since when guests were last seen to be asked to shut down.
    asked: BTreeMap<MachineId, tokio::time::Instant>,
    /// Held after a boot, because nobody answers.
    held: BTreeSet<MachineId>,
    /// To be looked at once more, because something may be new since the last look.
    missed: BTreeSet<(MachineId, Side)>,
}

/// Begins to see to everything that has a life, or something left of one, where nobody does now.
pub(super) fn settle(agent: &Arc<Agent>, managed: &Arc<Managed>, stop: &CancellationToken) {
    let (alive, over): (Vec<MachineId>, Vec<MachineId>) = {
        let ledger = managed.ledger();
        let alive = ledger.protections().filter(|protection| protection.life.is_some()).map(|p| p.machine);
        let over = ledger.stations().filter(|station| beside::has_left(station));
        let over = over.map(|station| station.machine).filter(|machine| ledger.is_removed(*machine));
        (alive.collect(), over.collect())
    };
    startable::settle_together(managed, &alive);
    for machine in alive {
        let (agent, managed, stopped) = (Arc::clone(agent), Arc::clone(managed), stop.clone());
        let course = async move |managed: Arc<Managed>| see_to(&agent, &managed, machine, &stopped).await;
        begin(&managed, stop, (machine, Side::Course), course);
    }
    for machine in over {
        let agent = Arc::clone(agent);
        let end = async move |managed: Arc<Managed>| beside::end(&agent, &managed, machine).await;
        begin(managed, stop, (machine, Side::Beside), end);
    }
    for machine in flatten::machines(managed) {
        let agent = Arc::clone(agent);
        let flatten = async move |managed: Arc<Managed>| flatten::see_to(&agent, &managed, machine).await;
        begin(managed, stop, (machine, Side::Flatten), flatten);
    }
}

/// Begins to see to one side of a machine, by a task of its own, where nobody does now.
fn begin<F: Future<Output = ()> + Send + 'static>(
    managed: &Arc<Managed>,
    stop: &CancellationToken,
    of: (MachineId, Side),
    work: impl FnOnce(Arc<Managed>) -> F,
) {
    let mut acting = locked(&managed.acting);
    if !acting.busy.insert(of) {
        acting.missed.insert(of);
        return;
    }
    acting.missed.remove(&of);
    drop(acting);
    let (busy, stop) = (Busy { managed: Arc::clone(managed), of }, stop.clone());
    let work = work(Arc::clone(managed));
    tokio::spawn(async move {
        stop.run_until_cancelled(work).await;
        drop(busy);
    });
}

/// Nobody else sees to it while this lives; after it somebody may, however it ended.
struct Busy {
    managed: Arc<Managed>,
    of: (MachineId, Side),
}

impl Drop for Busy {
    fn drop(&mut self) {
        locked(&self.managed.acting).busy.remove(&self.of);
        // Something may have come while it was looked at for the last time.
        if self.managed.take_missed(self.of) {
            self.managed.wanted.notify_one();
        }
    }
}

/// Sees to one machine until nothing is to be done.
async fn see_to(agent: &Arc<Agent>, managed: &Arc<Managed>, machine: MachineId, stop: &CancellationToken) {
    let mut pause = RETRY.0;
    loop {
        match next(agent, managed, machine, stop).await {
            Ok(true) => {
                pause = RETRY.0;
                managed.urge();
            }
            Ok(false) => {
                managed.set_doing(machine, None);
                managed.set_cannot(machine, None);
                return;
            }
            Err(error) => {
                let fault = error.fault();
                tracing::warn!(%machine, error = fault.what, advice = fault.advice, "not done yet");
                managed.set_cannot(machine, Some((fault.what, fault.advice)));
                managed.rest((machine, Side::Course), pause).await;
                pause = (pause * 2).min(RETRY.1);
            }
        }
    }
}

/// Does the next thing, if there is one; whether everything is to be looked at again at once.
async fn next(
    agent: &Arc<Agent>,
    managed: &Arc<Managed>,
    machine: MachineId,
    stop: &CancellationToken,
) -> Result<bool, AgentError> {
    let Some(seen) = managed.look_at(agent, machine).await? else { return Ok(false) };
    let done = course(agent, managed, &seen).await;
    match done {
        Ok(false) => beside::settle(agent, managed, stop, seen),
        Ok(true) => {}
        // What it lacks a test failover may have: that goes all the same.
        Err(_) => beside::make_room(agent, managed, stop, seen),
    }
    done
}

/// Does the next thing of its course, if there is one.
async fn course(agent: &Arc<Agent>, managed: &Arc<Managed>, seen: &Seen) -> Result<bool, AgentError> {
    let machine = seen.protection.machine;
    autostart::own(agent, managed, seen).await?;
    start::note_run(agent, managed, seen).await?;
    if start::finish(managed, seen).await? {
        return Ok(true);
    }
    if turn::is_due(seen, managed.host()) {
        managed.set_doing(machine, Some("making the disks that are here the replica"));
        turn::turn(agent, managed, seen).await?;
        return Ok(true);
    }
    clear_shelf(agent, seen, managed.host()).await?;
    turn::let_go(agent, managed, seen).await?;
    asked::let_go(managed, seen).await?;
    let what = converge(&seen.lineage, managed.host(), &seen.wanted, &seen.here);
    managed.set_doing(machine, said(&what));
    if managed.act(agent, seen, what).await? {
        return Ok(true);
    }
    if seen.station.undelivered(&seen.lineage).is_some() && matches!(seen.mine, Want::HandOver { .. }) {
        managed.set_doing(machine, Some("handing the seal to the other host"));
        managed.deliver_seal(agent, seen).await?;
    }
    Ok(false)
}

/// Once a failover is committed, nobody goes back to overlays that were put aside for its choices.
async fn clear_shelf(agent: &Arc<Agent>, seen: &Seen, me: HostId) -> Result<(), AgentError> {
    let over = seen.protection.life.as_ref().is_some_and(|life| {
        matches!(life.stage, Stage::Committed | Stage::Replicating | Stage::Reversing { .. })
    });
    // Where it is another host's now, what was put aside becomes points first.
    let kept = seen.lineage.owner == me || seen.station.has_turned(&seen.lineage);
    if !over || !kept || seen.station.brought_up.is_none() {
        return Ok(());
    }
    match agent.replicas().get(seen.protection.machine).await? {
        Some(replica) => Ok(replica.run(Replica::clear_shelf).await?),
        None => Ok(()),
    }
}

const STARTING: &str = "starting the machine";
const BRINGING_UP: &str = "bringing the machine up";

/// What is being done, for people.
fn said(what: &Do) -> Option<&'static str> {
    Some(match what {
        Do::Nothing | Do::Hear | Do::Refuse(_) => return None,
        Do::Start => STARTING,
        Do::AskWitness => "asking the other host whether it has taken over",
        Do::AskRefusal(_) => "asking the other host to refuse the machine",
        Do::ShutDown { .. } => "shutting the machine down",
        Do::SendRest => "sending what the other host does not have yet",
        Do::Seal(_) => "sealing the machine",
        Do::Accept(_) => "accepting the machine",
        Do::BringUp { .. } => BRINGING_UP,
        Do::Fence(_) => "fencing this host's copy",
        Do::Adopt => "making the disks that are here the replica",
    })
}

/// Why nothing is sent of a machine though its document would have it; none: it may be.
pub(super) fn held_back(ledger: &Ledger, protection: &Protection) -> Option<Role> {
    protection.life.as_ref()?;
    let lineage = ledger.lineage(protection.machine)?;
    let station = ledger.station(protection.machine);
    let wait = |why: &str| Some(Role::Rest(protection.epoch, SourcePhase::Waiting { why: why.to_owned() }));
    if lineage.seal.is_some() {
        return wait("the machine is sealed for the other host");
    }
    if station.accepted_for(lineage).is_some() && station.brought_up_by(lineage).is_none() {
        return wait("the machine is being started here");
    }
    None
}

impl Managed {
    /// Why a replica takes nothing now: what is here has to become it first.
    pub(super) fn is_turning(&self, machine: MachineId) -> Option<Refusal> {
        let ledger = self.ledger();
        let (protection, lineage) = (ledger.protection(machine)?, ledger.lineage(machine)?);
        protection.life.as_ref()?;
        let turned = ledger.station(machine).has_turned(lineage);
        (!turned && lineage.owner != self.host()).then(|| {
            let why = "the disks that this host has of the machine become its replica first";
            Refusal::new(RefusalCode::Busy, why, "it is tried again by itself")
        })
    }

    /// Whether somebody waits for the vault's word of now.
    pub(super) fn awaits_fresh_word(&self) -> bool {
        let ledger = self.ledger();
        let waits = |protection: &Protection| {
            let wanted = protection.life.as_ref().map(farshore_protection::Life::wanted);
            wanted.is_some_and(|wanted| {
                matches!(wanted.of(self.me), Want::HandOver { .. } | Want::BringUp { .. } | Want::Fence)
            })
        };
        !self.is_fresh() && ledger.protections().any(waits)
    }

    fn is_fresh(&self) -> bool {
        locked(&self.contact).is_fresh(self.since_start(), FRESH)
    }

    /// The machine's next cycle begins at once.
    fn hurry(&self, machine: MachineId) {
        if let Some(room) = locked(&self.rooms).get(&machine) {
            room.hurry();
        }
    }

    /// Why the last cycle has not arrived yet.
    fn why_not_sent(&self, machine: MachineId) -> String {
        let state = locked(&self.rooms).get(&machine).map(|room| room.state((0, Duration::ZERO)).phase);
        match state {
            Some(phase) => format!("the last cycle has not arrived at the other host yet: {phase:?}"),
            None => {
                "the machine is not replicated from here, so that its last cycle cannot be sent".to_owned()
            }
        }
    }

    fn set_held(&self, machine: MachineId, held: bool) {
        let mut acting = locked(&self.acting);
        match held {
            true => acting.held.insert(machine),
            false => acting.overridden.remove(&machine) | acting.held.remove(&machine),
        };
    }

    /// Whether it may come to run at any moment: who asks is told so.
    pub(crate) fn is_starting(&self, machine: MachineId) -> bool {
        let acting = locked(&self.acting);
        acting.doing.get(&machine).is_some_and(|doing| [STARTING, BRINGING_UP].contains(&doing.what.as_str()))
    }

    /// Copies that test failovers run here: no machines of anybody's.
    pub(crate) fn drill_copies(&self) -> BTreeSet<MachineId> {
        self.ledger().stations().filter_map(|station| Some(station.drill.as_ref()?.id)).collect()
    }

    /// Networks that test failovers made here: nobody else's.
    pub(super) fn drill_networks(&self) -> BTreeSet<String> {
        self.ledger().stations().filter_map(|station| station.drill.as_ref()?.network.clone()).collect()
    }

    /// A person says that a machine may start though nobody answers; false where it is not held
    /// for that.
    pub(crate) fn override_witness(&self, machine: MachineId) -> bool {
        let mut acting = locked(&self.acting);
        let held = acting.held.contains(&machine);
        if held {
            acting.overridden.insert(machine);
        }
        held
    }

    fn is_overridden(&self, machine: MachineId) -> bool {
        locked(&self.acting).overridden.contains(&machine)
    }

    fn set_doing(&self, machine: MachineId, what: Option<&str>) {
        let doing = what.map(|what| Doing { what: what.to_owned(), done: 0, total: 0 });
        let mut acting = locked(&self.acting);
        let before = match doing {
            Some(doing) => acting.doing.insert(machine, doing.clone()) != Some(doing),
            None => acting.doing.remove(&machine).is_some(),
        };
        drop(acting);
        if before {
            self.news.soon.notify_one();
        }
    }

    fn set_cannot(&self, machine: MachineId, why: Option<(String, String)>) {
        let mut acting = locked(&self.acting);
        let changed = match why {
            Some((what, advice)) => {
                let problem = Problem { code: "cannot".to_owned(), what, advice };
                acting.cannot.insert(machine, problem.clone()) != Some(problem)
            }
            None => acting.cannot.remove(&machine).is_some(),
        };
        drop(acting);
        if changed {
            self.urge();
        }
    }

    /// Waits, but not longer than until something may be new.
    async fn rest(&self, of: (MachineId, Side), pause: Duration) {
        let begun = tokio::time::Instant::now();
        tokio::time::sleep(pause.min(RETRY.0)).await;
        while begun.elapsed() < pause && !self.take_missed(of) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until a document wants something else of this host than `mine`.
    async fn until_told_otherwise(&self, machine: MachineId, mine: Want) {
        loop {
            let wanted = self.ledger().protection(machine).and_then(|p| Some(p.life.as_ref()?.wanted()));
            let now = wanted.map(|wanted| wanted.of(self.me));
            if now != Some(mine) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether something came while it was seen to.
    fn take_missed(&self, of: (MachineId, Side)) -> bool {
        locked(&self.acting).missed.remove(&of)
    }
}

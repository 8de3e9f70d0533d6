//! Everything that can happen next, and what it does. An act that can do nothing now gives none.

use std::sync::Arc;

use farshore_control::{Verdict, ownership::Lineage};
use farshore_protection::{
    BroughtUp, Choice, DrillPhase, Operation, Want,
    fence::{self, Answered, AtBoot, Do, Fence, Here, Probe, Voice},
};
use farshore_types::{Epoch, PointId, PointRef, RootDigest};

use crate::{
    vault::{Vault, takes},
    world::{Left, Pull, World, host, place},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A site server asks a vault for what is new, and keeps a warm copy.
    Fetch {
        site: usize,
        vault: usize,
    },
    /// An agent asks its site server.
    Pull(usize),
    /// An agent tells its site server what is so.
    Tell(usize),
    /// A vault hears what a site server was told, be it of long ago.
    Hear {
        vault: usize,
        site: usize,
    },
    /// An agent does the next thing.
    Next(usize),
    /// An agent sees to what goes beside the machine: the copy of a test failover, flattening.
    Beside(usize),
    /// An agent sends its seal to the other one.
    Send(usize),
    /// A cycle of an agent reaches the other one.
    Cycle(usize),
    /// The guest on a host writes.
    Write(usize),
    /// A host loses power, and comes back.
    Crash(usize),
    Boot(usize),
    /// An agent is started anew.
    Restart(usize),
    /// What a site server or agent took for fresh is old.
    Stale(usize),
    /// The sites lose each other, and find each other.
    Cut,
    Mend,
    /// A vault is gone for good.
    Lose(usize),
    /// The time is up for which a vault waits for hosts.
    Wait(usize),
    Backup(usize),
    Restore(usize),
    Promote(usize),
    /// A person on a host brings the machine up there.
    Alone {
        at: usize,
        force: bool,
    },
    /// A person on a host starts it though nobody answers.
    Override(usize),
    /// A person orders something.
    Order {
        vault: usize,
        operation: Operation,
        winner: usize,
    },
}

use Act::*;

/// Everything that might happen.
pub(crate) fn all() -> Vec<Act> {
    let mut acts = vec![Cut, Mend];
    for at in 0..2 {
        acts.extend([Pull(at), Tell(at), Next(at), Send(at), Cycle(at), Write(at), Crash(at), Boot(at)]);
        acts.extend([Restart(at), Stale(at), Lose(at), Wait(at), Backup(at), Restore(at), Promote(at)]);
        acts.extend([Beside(at), Override(at), Alone { at, force: false }, Alone { at, force: true }]);
        for other in 0..2 {
            acts.extend([Fetch { site: at, vault: other }, Hear { vault: at, site: other }]);
        }
        // Of the winner both are tried: who that is, is said by nothing else.
        acts.extend(Operation::ALL.map(|operation| Order { vault: at, operation, winner: 0 }));
        acts.push(Order { vault: at, operation: Operation::DeclareWinner, winner: 1 });
    }
    acts
}

/// What an act makes of a world; none: it cannot happen now, or changes nothing.
pub(crate) fn apply(world: &World, act: Act) -> Option<World> {
    if !may(world, act) {
        return None;
    }
    let mut next = world.clone();
    let happened = match act {
        Fetch { site, vault } => next.fetch(site, vault),
        Pull(at) => next.pull(at),
        Tell(at) => next.tell(at),
        Hear { vault, site } => next.hear(vault, site),
        Next(at) => next.act(at),
        Beside(at) => next.beside(at),
        Send(at) => next.send(at),
        Cycle(at) => next.cycle(at),
        Write(at) => next.left.take(|left| &mut left.writes) && next.write(at),
        Crash(at) => next.agents[at].up && next.left.take(|left| &mut left.faults) && next.crash(at),
        Boot(at) => next.boot(at),
        Restart(at) => next.agents[at].up && next.left.take(|left| &mut left.faults) && next.restart(at),
        Stale(at) => next.left.take(|left| &mut left.faults) && next.stale(at),
        Cut => !next.cut && next.left.take(|left| &mut left.faults) && next.set_cut(true),
        Mend => next.cut && next.set_cut(false),
        Lose(at) => next.left.take(|left| &mut left.faults) && next.vaults[at].take().is_some(),
        Wait(at) => next.vaults[at].as_mut().is_some_and(|vault| {
            vault.waited = true;
            vault.publish();
            true
        }),
        Backup(at) => next.back_up(at),
        Restore(at) => next.left.take(|left| &mut left.faults) && next.restore(at),
        Promote(at) => next.left.take(|left| &mut left.faults) && next.promote(at),
        Alone { at, force } => next.left.take(|left| &mut left.alone) && next.alone(at, force),
        Override(at) => next.left.take(|left| &mut left.alone) && next.overridden(at),
        Order { vault, operation, winner } => {
            next.left.take(|left| &mut left.orders) && next.order(vault, operation, winner)
        }
    };
    if !happened || next == *world {
        return None;
    }
    next.forget_what_was_confirmed();
    Some(next)
}

/// Whether an act may come to anything, looked at before a world is copied for it.
fn may(world: &World, act: Act) -> bool {
    let Left { orders, faults, writes, alone } = world.left;
    match act {
        Pull(at) | Tell(at) | Next(at) | Beside(at) => world.agents[at].up,
        Send(at) => world.agents[at].lineage.seal.is_some() && world.talk(),
        Cycle(at) => world.agents[at].runs && world.talk(),
        Write(at) => writes > 0 && world.agents[at].runs,
        Boot(at) => !world.agents[at].up,
        Crash(at) | Restart(at) => faults > 0 && world.agents[at].up,
        Override(at) | Alone { at, .. } => alone > 0 && world.agents[at].up,
        Cut => faults > 0 && !world.cut,
        Mend => world.cut,
        Stale(at) => faults > 0 && world.relays[at].fresh,
        Lose(at) => faults > 0 && world.vaults[at].is_some(),
        Restore(_) => faults > 0 && world.backup.is_some(),
        Promote(at) => faults > 0 && world.vaults[at].is_none(),
        Backup(at) => world.backup.is_none() && world.vaults[at].is_some(),
        Wait(at) => world.vaults[at].as_ref().is_some_and(|vault| !vault.waited && !vault.learned),
        Order { vault: at, operation, .. } => {
            let judge = |vault: &Vault| vault.may_be_ordered(operation, world.heard_by(at));
            orders > 0 && world.vaults[at].as_ref().is_some_and(judge)
        }
        Fetch { site, vault } | Hear { site, vault } => {
            world.vaults[vault].is_some() && world.reach(site, vault)
        }
    }
}

impl crate::world::Left {
    fn take(&mut self, of: impl Fn(&mut Self) -> &mut u8) -> bool {
        let left = of(self);
        let some = *left > 0;
        *left = left.saturating_sub(1);
        some
    }
}

impl World {
    fn fetch(&mut self, site: usize, vault: usize) -> bool {
        if !self.reach(site, vault) {
            return false;
        }
        let Some(from) = &mut self.vaults[vault] else { return false };
        // By which term it asks, the vault hears: another one of the same number is heard of so.
        if let Some(held) = &self.relays[site].doc {
            from.hears_term(held.version.term);
            if from.superseded {
                return true;
            }
        }
        let (doc, kept) = (from.doc_for(site), from.kept());
        let relay = &mut self.relays[site];
        if relay.warm.as_ref().is_none_or(|warm| warm.version.term.number <= kept.version.term.number) {
            relay.warm = Some(Arc::new(kept));
        }
        let Some(doc) = doc else { return true };
        match takes(relay.doc.as_deref(), None, &doc) {
            Verdict::Taken => (relay.doc, relay.fresh) = (Some(doc), true),
            Verdict::Known => relay.fresh = true,
            _ => {}
        }
        true
    }

    fn pull(&mut self, at: usize) -> bool {
        let (relay, agent) = (&self.relays[at], &mut self.agents[at]);
        let Some(doc) = relay.doc.as_ref().filter(|_| agent.up) else { return false };
        match takes(agent.doc.as_deref(), Some(&agent.lineage.epoch), doc) {
            Verdict::Taken => (agent.doc, agent.fresh) = (Some(doc.clone()), relay.fresh),
            Verdict::Known => agent.fresh = relay.fresh,
            Verdict::EpochConflict { .. } => {
                let wanted = doc.wanted();
                agent.hear(&wanted.epoch, wanted.owner);
            }
            _ => {}
        }
        true
    }

    fn tell(&mut self, at: usize) -> bool {
        let agent = &self.agents[at];
        self.relays[at].report = Some(Arc::new(agent.told()));
        true
    }

    fn hear(&mut self, vault: usize, site: usize) -> bool {
        let reach = self.reach(vault, site);
        let (Some(vault), Some(told)) = (&mut self.vaults[vault], &self.relays[site].report) else {
            return false;
        };
        if reach {
            vault.hears(site, told);
        }
        reach
    }

    /// What an agent sees of itself.
    fn here(&self, at: usize) -> Here {
        let agent = &self.agents[at];
        Here {
            runs: agent.runs,
            cut_off: false,
            booted: !agent.runs && agent.boots.is_unsure(&agent.boot),
            ran: !agent.runs && agent.boots.ran_before(&agent.boot),
            // It goes down as it is asked.
            asked: false,
            fresh: agent.fresh,
            complete: agent.acked == agent.disk,
            brought_up: agent.brought_up.filter(|up| up.epoch == agent.lineage.epoch).map(|up| up.order),
            seal: agent.seal_in,
            fence: Fence::Stop,
        }
    }

    /// What an agent does next.
    pub(crate) fn next_of(&self, at: usize) -> Do {
        let agent = &self.agents[at];
        let Some(doc) = agent.doc.as_ref().filter(|_| agent.up) else { return Do::Nothing };
        fence::converge(&agent.lineage, host(at), &doc.wanted(), &self.here(at))
    }

    fn act(&mut self, at: usize) -> bool {
        let Some(doc) = self.agents[at].doc.clone() else { return false };
        let (wanted, me) = (doc.wanted(), host(at));
        let next = self.next_of(at);
        let looked = self.look(at, wanted.of(me));
        let agent = &mut self.agents[at];
        match next {
            Do::Nothing => return looked,
            Do::Hear => agent.hear(&wanted.epoch, wanted.owner),
            Do::Start => self.start(at),
            Do::AskWitness => return self.ask_witness(at, false) || looked,
            Do::AskRefusal(next) => {
                if !self.talk() || !self.agents[1 - at].lineage.refused.contains(&next) {
                    return looked;
                }
                self.agents[at].lineage.unseal(&next).unwrap();
            }
            Do::ShutDown { .. } | Do::Fence(_) => agent.is_off(),
            Do::SendRest => return self.replicate(at) || looked,
            Do::Seal(next) => {
                let number = u64::from(agent.disk.unwrap_or(0));
                let last = PointRef {
                    id: PointId { epoch: agent.lineage.epoch.number, number },
                    root: RootDigest([0; 32]),
                };
                let loses = agent.acked != agent.disk;
                let disk = agent.disk.unwrap_or(0);
                if agent.lineage.seal(me, last, next).is_err() {
                    return looked;
                }
                let planned = matches!(wanted.source, Want::HandOver { last_cycle: true, .. });
                if planned {
                    self.ghost.sealed = Some((next, disk));
                }
                // What is sealed without a last cycle is kept where it was written.
                if loses {
                    self.agents[at].points.insert(disk);
                }
            }
            Do::Accept(seal) => {
                agent.before_the_fsync();
                agent.lineage.accept(me, &seal).unwrap();
                agent.is_told();
                // After a last cycle that is what starts; else the disks are as they were left.
                if matches!(wanted.source, Want::HandOver { last_cycle: true, .. }) || agent.disk.is_none() {
                    agent.points.extend(agent.disk);
                    agent.disk = agent.newest;
                    agent.acked = agent.newest;
                }
            }
            Do::Refuse(next) => return agent.lineage.refuse(&next).is_ok() || looked,
            Do::BringUp { point, order, .. } => self.bring_up(at, point == Choice::AsLeft, order),
            Do::Adopt if agent.adopted == Some(agent.lineage.epoch) => return looked,
            Do::Adopt => {
                agent.points.extend(agent.disk);
                agent.adopted = Some(agent.lineage.epoch);
                agent.newest = agent.disk.or(agent.newest);
            }
        }
        true
    }

    /// What an agent notes at each look, before it acts.
    fn look(&mut self, at: usize, mine: Want) -> bool {
        let agent = &mut self.agents[at];
        agent.boots.look(&agent.boot, agent.runs, mine.is_moving())
    }

    /// Starts what is there.
    fn start(&mut self, at: usize) {
        let agent = &mut self.agents[at];
        agent.disk = agent.disk.or(agent.newest);
        let epoch = agent.lineage.epoch;
        let before = agent.brought_up.filter(|up| up.epoch == epoch);
        agent.brought_up = Some(before.unwrap_or(BroughtUp { epoch, order: 0, at: None }));
        (agent.runs, agent.booted, agent.seal_in) = (true, false, None);
    }

    fn bring_up(&mut self, at: usize, as_left: bool, order: u64) {
        let agent = &mut self.agents[at];
        let own = agent.disk.filter(|_| as_left || agent.newest.is_none());
        agent.points.extend(agent.disk);
        agent.disk = own.or(agent.newest).or(agent.disk);
        agent.brought_up = Some(BroughtUp { epoch: agent.lineage.epoch, order, at: None });
        (agent.runs, agent.booted, agent.acked) = (true, false, None);
    }

    pub(crate) fn ask_witness(&mut self, at: usize, overridden: bool) -> bool {
        let nonce = self.token();
        let mut answers = Vec::new();
        if self.talk() {
            let witness = fence::witness(&self.agents[1 - at].lineage, nonce);
            answers.push(Answered { by: Voice::OtherHost, witness });
        }
        if let Some(doc) = &self.relays[at].doc {
            let witness =
                fence::witness(&Lineage::new(crate::world::MACHINE, doc.wanted().epoch, host(at)), nonce - 1);
            answers.push(Answered { by: Voice::OwnSite, witness });
        }
        self.tokens -= 1;
        match fence::at_boot(&self.agents[at].lineage, host(at), nonce, &answers, overridden) {
            AtBoot::Start => {}
            AtBoot::StartOverridden => self.ghost.confirmed = true,
            AtBoot::Hold(_) => return false,
            AtBoot::Never(_) => return self.hear_other(at),
        }
        let agent = &mut self.agents[at];
        agent.boots.know(&agent.boot);
        self.start(at);
        true
    }

    /// An agent that met a higher epoch knows it from then on.
    fn hear_other(&mut self, at: usize) -> bool {
        if !self.talk() {
            return false;
        }
        let (before, other) = (self.agents[at].lineage.clone(), self.agents[1 - at].lineage.clone());
        self.agents[at].hear(&other.epoch, other.owner);
        self.agents[at].lineage != before
    }

    fn send(&mut self, at: usize) -> bool {
        if !self.talk() {
            return false;
        }
        self.agents[1 - at].seal_in = self.agents[at].lineage.seal;
        true
    }

    fn cycle(&mut self, at: usize) -> bool {
        let agent = &self.agents[at];
        let wanted = agent.doc.as_ref().map(|doc| doc.wanted());
        let copies = wanted.is_some_and(|wanted| wanted.copies && wanted.epoch == agent.lineage.epoch);
        copies && agent.runs && self.replicate(at)
    }

    /// A point travels from a host to the other one, if it is let in there.
    pub(crate) fn replicate(&mut self, at: usize) -> bool {
        if !self.talk()
            || self.agents[at].lineage.owner != host(at)
            || self.agents[at].lineage.conflict.is_some()
        {
            return false;
        }
        let (epoch, disk) = (self.agents[at].lineage.epoch, self.agents[at].disk);
        let there = &mut self.agents[1 - at];
        if there.lineage.may_write(host(at), &epoch).is_err() {
            // Both learn of the other's epoch by that.
            there.hear(&epoch, host(at));
            return self.hear_other(at);
        }
        there.hear(&epoch, host(at));
        there.newest = disk;
        there.points.extend(disk);
        self.agents[at].acked = disk;
        self.agents[at].synced = self.agents[at].doc.as_ref().map(|doc| (epoch, doc.life.copying));
        true
    }

    /// What goes beside the machine, as the agent's `life/drill` and `life/flatten` have it.
    fn beside(&mut self, at: usize) -> bool {
        let Some(wanted) = self.agents[at].doc.as_ref().map(|doc| doc.wanted()) else { return false };
        let (agent, me) = (&mut self.agents[at], host(at));
        agent.copy = match (&wanted.drill, agent.copy) {
            (Some(drill), Some(order)) if drill.phase == DrillPhase::CleaningUp || drill.order != order => {
                None
            }
            (Some(drill), None) if drill.phase != DrillPhase::CleaningUp && wanted.other == me => {
                agent.newest.and(Some(drill.order))
            }
            // Where its protection has ended, it is removed.
            (_, copy) => copy.filter(|_| wanted.of(me) != Want::Nothing),
        };
        let flattens = wanted.flatten && wanted.owner == me && agent.runs;
        agent.pull = match (flattens, agent.pull) {
            (false, _) => Pull::None,
            (true, Pull::None) => Pull::Runs,
            (true, _) => Pull::Done,
        };
        true
    }

    fn write(&mut self, at: usize) -> bool {
        let agent = &mut self.agents[at];
        let digit = u32::try_from(at).unwrap() + 2;
        agent.disk = agent.disk.map(|disk| disk * 4 + digit);
        agent.runs
    }

    fn crash(&mut self, at: usize) -> bool {
        let agent = &mut self.agents[at];
        (agent.up, agent.fresh, agent.seal_in) = (false, false, None);
        agent.is_off();
        agent.reads_its_ledger();
        true
    }

    fn boot(&mut self, at: usize) -> bool {
        let agent = &mut self.agents[at];
        let was = std::mem::replace(&mut agent.up, true);
        agent.booted = true;
        agent.boot += 1;
        !was
    }

    fn restart(&mut self, at: usize) -> bool {
        let agent = &mut self.agents[at];
        (agent.fresh, agent.seal_in) = (false, None);
        agent.reads_its_ledger();
        true
    }

    fn stale(&mut self, at: usize) -> bool {
        self.agents[at].fresh = false;
        self.relays[at].fresh = false;
        true
    }

    fn set_cut(&mut self, cut: bool) -> bool {
        self.cut = cut;
        true
    }

    fn back_up(&mut self, at: usize) -> bool {
        let first = self.backup.is_none();
        self.backup = self.vaults[at].as_ref().map(|vault| Arc::new(vault.kept()));
        first
    }

    fn restore(&mut self, at: usize) -> bool {
        let id = self.token();
        let Some(kept) = &self.backup else { return false };
        self.vaults[at] = Some(Vault::again(kept, id));
        true
    }

    fn promote(&mut self, at: usize) -> bool {
        let id = self.token();
        let Some(kept) = self.relays[at].warm.clone().filter(|_| self.vaults[at].is_none()) else {
            return false;
        };
        self.vaults[at] = Some(Vault::again(&kept, id));
        true
    }

    fn alone(&mut self, at: usize, force: bool) -> bool {
        let token = self.token();
        let other = &self.agents[1 - at];
        let probe = match (self.talk(), other.runs) {
            (false, _) => Probe::Silent,
            (true, true) => Probe::Runs,
            (true, false) => Probe::DoesNot,
        };
        let highest = self.talk().then(|| fence::witness(&other.lineage, 0).epoch);
        let agent = &mut self.agents[at];
        if !agent.up || agent.runs || (agent.newest.is_none() && agent.disk.is_none()) {
            return false;
        }
        let heard: Vec<Epoch> = highest.into_iter().chain(agent.seal_in.map(|seal| seal.next)).collect();
        let Ok(epoch) = fence::break_glass(&agent.lineage, &heard, probe, force, token) else { return false };
        agent.before_the_fsync();
        agent.hear(&epoch, host(at));
        // Who answers is told of it, and keeps that, before anything is brought up.
        if probe != Probe::Silent {
            self.agents[1 - at].hear(&epoch, host(at));
        }
        self.ghost.confirmed |= force;
        self.ghost.alone.push(epoch);
        let own = self.agents[at].newest.is_none();
        self.bring_up(at, own, 0);
        true
    }

    fn overridden(&mut self, at: usize) -> bool {
        let asks = self.next_of(at) == Do::AskWitness;
        asks && self.ask_witness(at, true)
    }

    /// Of which hosts a vault hears now.
    fn heard_by(&self, vault: usize) -> [bool; 2] {
        [0, 1].map(|at| self.reach(vault, at) && self.agents[at].up)
    }

    pub(crate) fn order(&mut self, vault: usize, operation: Operation, winner: usize) -> bool {
        let token = self.token();
        let reach = self.heard_by(vault);
        let Some(vault) = &mut self.vaults[vault] else { return false };
        let done = vault.order(operation, winner, token, reach).is_ok();
        self.ghost.confirmed |= done && !operation.is_orderly();
        done
    }

    /// What was confirmed is over when everybody has heard of the owner, and no other one runs
    /// the machine: from then on it never runs twice again without being confirmed anew.
    fn forget_what_was_confirmed(&mut self) {
        let epoch = self.epoch(0);
        let docs =
            self.agents.iter().map(|agent| &agent.doc).chain(self.relays.iter().map(|relay| &relay.doc));
        let heard =
            self.agents.iter().all(|agent| agent.lineage.epoch == epoch && agent.lineage.conflict.is_none());
        let told = docs.flatten().all(|doc| doc.life.epoch.number <= epoch.number);
        let known =
            self.vaults.iter().flatten().all(|vault| vault.life.epoch == epoch && vault.life.rival.is_none());
        let owner = place(self.agents[0].lineage.owner);
        if heard && told && known && !self.agents[1 - owner].runs {
            self.ghost.confirmed = false;
        }
    }

    /// Where the machine runs.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..2).filter(|at| self.agents[*at].runs).collect()
    }

    /// The vault that speaks by the highest term.
    pub(crate) fn speaker(&self) -> Option<usize> {
        let speaks = |at: &usize| self.vaults[*at].as_ref().is_some_and(|vault| !vault.superseded);
        (0..2)
            .filter(speaks)
            .max_by_key(|at| self.vaults[*at].as_ref().map(|vault| vault.version.term.number))
    }

    /// The epoch that a host holds.
    pub(crate) fn epoch(&self, at: usize) -> Epoch {
        self.agents[at].lineage.epoch
    }

    /// Where the life of the vault that speaks has the machine.
    pub(crate) fn told_to_run(&self) -> Option<usize> {
        let vault = self.vaults[self.speaker()?].as_ref()?;
        Some(place(vault.life.source))
    }
}

//! What an agent does about its machines: what their documents want, by `fence::converge` as
//! the shipped agent decides it. Disks are texts; each write of a guest adds to one.

use std::collections::BTreeMap;

use farshore_control::{
    Body, Key, Standing, Version,
    ownership::{Heard, Lineage, Seal},
    report::Problem,
    standing::{Adopted, CouldStart, DrillStanding, Flattening},
};
use farshore_protection::{
    BroughtUp, Choice, DrillPhase, Life, Overlay, Want,
    fence::{Do, Fence, Here, converge},
};
use farshore_types::{Epoch, HostId, MachineId, PointId, PointRef, RootDigest};

use super::{agent::Agent, world::World};

/// What one host has of one machine; durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Hand {
    pub(super) runs: bool,
    pub(super) disk: Option<String>,
    pub(super) points: BTreeMap<PointId, String>,
    pub(super) brought_up: Option<BroughtUp>,
    /// Overlays of earlier bring-ups, by their points.
    pub(super) left: BTreeMap<PointId, String>,
    adopted: Option<Adopted>,
    acked: Option<String>,
    /// The point sent last.
    pub(super) sent: Option<PointId>,
    seal_in: Option<Seal>,
    pub(super) drill: Option<DrillStanding>,
    /// Whether the machine could be started here.
    pub(super) could_start: Option<CouldStart>,
    /// Why nothing can be brought up here.
    pub(super) broken: Option<&'static str>,
    /// Its guest does not shut down.
    pub(super) stubborn: bool,
    cannot: Option<Problem>,
    flat: bool,
    /// Whether its disks stand on the replica here, where that is said.
    pub(super) layered: Option<bool>,
}

impl Agent {
    /// Its machines, as documents and inventory have them.
    fn hands_on(&mut self) -> Vec<(MachineId, Version, Life)> {
        let held = self.holder.documents().filter_map(|document| match (&document.key, &document.body) {
            (Key::Protection(machine), Body::Protection(body)) => {
                Some((*machine, document.version, body.life.clone()?))
            }
            _ => None,
        });
        let held: Vec<_> = held.collect();
        for (machine, _, life) in &held {
            let listed = self.machines.iter().any(|facts| facts.id == *machine);
            let here = listed || life.source == self.host;
            let disk = here.then(String::new);
            self.hands.entry(*machine).or_insert_with(|| Hand { runs: here, disk, ..Hand::default() });
        }
        held
    }

    pub(super) fn standings(&mut self) -> Vec<Standing> {
        if !self.lives {
            return Vec::new();
        }
        let held: BTreeMap<MachineId, (Version, Life)> =
            self.hands_on().into_iter().map(|(machine, version, life)| (machine, (version, life))).collect();
        let standing = |(machine, hand): (&MachineId, &Hand)| Standing {
            document: held.get(machine).map(|(version, _)| *version),
            runs: Some(hand.runs),
            brought_up: hand.brought_up,
            cannot: hand.cannot.clone(),
            adopted: hand.adopted,
            drill: hand.drill.clone(),
            could_start: hand.could_start.clone(),
            layered: hand.layered,
            flattening: held.get(machine).filter(|(_, life)| life.wanted().flatten).map(|_| Flattening {
                done: 1,
                total: 1,
                flat: hand.flat,
                failed: None,
            }),
            ..Standing::of(*machine)
        };
        self.hands.iter().map(standing).collect()
    }
}

impl World {
    pub(super) fn hand(&mut self, at: usize, machine: MachineId) -> &mut Hand {
        self.agent(at).hands.entry(machine).or_default()
    }

    /// The guest writes where it runs.
    pub(super) fn write(&mut self, machine: MachineId, what: &str) {
        for agent in self.agents.values_mut() {
            if let Some(hand) = agent.hands.get_mut(&machine).filter(|hand| hand.runs) {
                hand.disk.get_or_insert_default().push_str(what);
            }
        }
    }

    /// Hosts, by their places, on which the machine runs.
    pub(super) fn running(&self, machine: MachineId) -> Vec<usize> {
        let runs = |host: &HostId| self.agents[host].hands.get(&machine).is_some_and(|hand| hand.runs);
        (0..self.hosts.len()).filter(|at| runs(&self.hosts[*at])).collect()
    }

    /// Every agent that is reached does what is wanted of it.
    pub(super) fn hands_work(&mut self) {
        let lost: Vec<HostId> = self.lost.iter().map(|at| self.hosts[*at]).collect();
        for host in self.hosts.clone().into_iter().filter(|host| !lost.contains(host)) {
            let Some(agent) = self.agents.get_mut(&host).filter(|agent| agent.lives) else { continue };
            for (machine, _, life) in agent.hands_on() {
                let other = if life.source == host { life.target } else { life.source };
                let talks = !lost.contains(&other) && self.agents.contains_key(&other);
                let other = talks.then_some(other);
                for _ in 0..10 {
                    if !self.hand_does(host, other, machine, &life) {
                        break;
                    }
                }
                self.hand_copies(host, other, machine, &life);
                self.hand_drills(host, machine, &life);
            }
        }
    }

    fn two(&mut self, host: HostId, machine: MachineId) -> (&mut Hand, &mut Lineage) {
        let agent = self.agents.get_mut(&host).unwrap();
        (agent.hands.get_mut(&machine).unwrap(), agent.lineages.get_mut(&machine).unwrap())
    }

    /// The next thing; whether there was one.
    fn hand_does(&mut self, host: HostId, other: Option<HostId>, machine: MachineId, life: &Life) -> bool {
        let wanted = life.wanted();
        let planned = matches!(wanted.source, Want::HandOver { last_cycle: true, .. });
        let refusals = other.and_then(|other| self.agents[&other].lineages.get(&machine)).cloned();
        let (hand, lineage) = self.two(host, machine);
        let here = Here {
            runs: hand.runs,
            cut_off: false,
            booted: false,
            ran: false,
            asked: false,
            fresh: true,
            complete: hand.acked == hand.disk,
            brought_up: hand.brought_up.filter(|up| up.epoch == lineage.epoch).map(|up| up.order),
            seal: hand.seal_in,
            fence: Fence::Stop,
        };
        match converge(lineage, host, &wanted, &here) {
            Do::Nothing | Do::AskWitness => return false,
            Do::Hear => {
                return !matches!(lineage.hear(&wanted.epoch, wanted.owner), Heard::Known | Heard::Stale);
            }
            Do::Start => start(hand, lineage),
            Do::AskRefusal(next) => {
                if !refusals.is_some_and(|other| other.refused.contains(&next)) {
                    return false;
                }
                lineage.unseal(&next).unwrap();
            }
            Do::ShutDown { power_off } => {
                hand.runs = hand.stubborn && !power_off;
                return !hand.runs;
            }
            Do::Fence(_) => hand.runs = false,
            Do::SendRest => return self.send(host, other, machine, lineage_epoch(life)),
            Do::Seal(next) => {
                let number = hand.sent.map_or(0, |sent| sent.number);
                let id = PointId { epoch: lineage.epoch.number, number };
                let seal = lineage.seal(host, PointRef { id, root: RootDigest([0; 32]) }, next).unwrap();
                let Some(other) = other else { return false };
                self.agent_of(other).hands.entry(machine).or_default().seal_in = Some(seal);
            }
            Do::Accept(seal) => {
                lineage.accept(host, &seal).unwrap();
                if planned || hand.disk.is_none() {
                    hand.disk = hand.points.last_key_value().map(|(_, content)| content.clone());
                }
            }
            Do::Refuse(next) => lineage.refuse(&next).unwrap(),
            Do::BringUp { point, overlay, order } => return bring_up(hand, lineage, point, overlay, order),
            Do::Adopt => {
                let epoch = lineage.epoch;
                if hand.adopted.is_some_and(|adopted| adopted.epoch == epoch) {
                    return false;
                }
                keep_own(hand, epoch);
                hand.adopted = Some(Adopted { epoch, had_disks: hand.disk.is_some() });
            }
        }
        true
    }

    fn agent_of(&mut self, host: HostId) -> &mut Agent {
        self.agents.get_mut(&host).unwrap()
    }

    /// A point goes to the other host.
    fn send(&mut self, host: HostId, other: Option<HostId>, machine: MachineId, epoch: u64) -> bool {
        let Some(other) = other.filter(|_| !self.agents[&host].rests) else { return false };
        let hand = self.agent_of(host).hands.get_mut(&machine).unwrap();
        let content = hand.disk.clone().unwrap_or_default();
        let before = hand.sent.filter(|sent| sent.epoch == epoch);
        let id = PointId { epoch, number: before.map_or(1, |sent| sent.number + 1) };
        (hand.sent, hand.acked) = (Some(id), hand.disk.clone());
        self.agent_of(other).hands.entry(machine).or_default().points.insert(id, content);
        true
    }

    fn hand_copies(&mut self, host: HostId, other: Option<HostId>, machine: MachineId, life: &Life) {
        let wanted = life.wanted();
        let (hand, lineage) = self.two(host, machine);
        let mine = wanted.owner == host && lineage.owner == host && lineage.epoch == wanted.epoch;
        if mine && wanted.copies && hand.runs && lineage.seal.is_none() {
            self.send(host, other, machine, wanted.epoch.number);
        }
    }

    fn hand_drills(&mut self, host: HostId, machine: MachineId, life: &Life) {
        let (hand, _) = self.two(host, machine);
        hand.flat = life.wanted().flatten;
        match life.drill.as_ref().filter(|drill| drill.host == Some(host)) {
            Some(drill) if drill.phase == DrillPhase::CleaningUp => hand.drill = None,
            Some(drill) if hand.broken.is_none() => {
                let (order, at) = (drill.order, hand.points.last_key_value().map(|(id, _)| *id));
                hand.drill =
                    Some(DrillStanding { order, runs: true, name: "copy".to_owned(), at, failed: None });
            }
            _ => {}
        }
    }
}

fn lineage_epoch(life: &Life) -> u64 {
    life.epoch.number
}

fn start(hand: &mut Hand, lineage: &Lineage) {
    let epoch = lineage.epoch;
    let before = hand.brought_up.filter(|up| up.epoch == epoch);
    hand.brought_up = Some(before.unwrap_or(BroughtUp { epoch, order: 0, at: None }));
    (hand.runs, hand.seal_in, hand.acked) = (true, None, None);
}

/// What was written here and is nowhere else stays as a point.
fn keep_own(hand: &mut Hand, epoch: Epoch) {
    if let Some(own) = hand.disk.clone()
        && !hand.points.values().any(|content| *content == own)
    {
        hand.points.insert(PointId { epoch: epoch.number.saturating_sub(1), number: 10_000 }, own);
    }
}

fn bring_up(hand: &mut Hand, lineage: &Lineage, point: Choice, overlay: Overlay, order: u64) -> bool {
    let refuse = |hand: &mut Hand, what: &str| {
        let (code, advice) = ("no-start".to_owned(), "choose another point".to_owned());
        hand.cannot = Some(Problem { code, what: what.to_owned(), advice });
        false
    };
    if let Some(what) = hand.broken {
        return refuse(hand, what);
    }
    let newest = hand.points.last_key_value().map(|(id, content)| (*id, content.clone()));
    let (at, content) = match (point, overlay) {
        (Choice::AsLeft, _) => (None, hand.disk.clone()),
        (Choice::At(id), Overlay::AsLeft) => (Some(id), hand.left.get(&id).cloned()),
        (Choice::At(id), Overlay::Fresh) => (Some(id), hand.points.get(&id).cloned()),
        _ => match newest {
            Some((id, content)) => (Some(id), Some(content)),
            None => (None, hand.disk.clone()),
        },
    };
    let Some(content) = content else { return refuse(hand, "the point was pruned") };
    let before = hand.brought_up.filter(|up| up.epoch == lineage.epoch).and_then(|up| up.at);
    if let (Some(before), Some(disk)) = (before, hand.disk.take()) {
        hand.left.insert(before, disk);
    }
    (hand.disk, hand.runs, hand.cannot, hand.acked) = (Some(content), true, None, None);
    hand.brought_up = Some(BroughtUp { epoch: lineage.epoch, order, at });
    true
}

//! The world: what happens when, what is on its way between whom, and who is up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use farshore_control::{
    HostReport,
    ownership::{Seal, Witness},
    report::ReportReply,
    sync::{Documents, Poll, SiteReply, SiteReport},
};
use farshore_types::{Epoch, MachineId, PointId};

use super::{
    chance::Chance,
    faults::{Fate, Fault},
    host::Host,
    site::Site,
    truth::Truth,
    vault::Vault,
};

/// Milliseconds that really passed; nobody in the world sees them.
pub(crate) type Ms = u64;

pub(crate) const SECOND: Ms = 1000;
pub(crate) const MINUTE: Ms = 60 * SECOND;
pub(crate) const HOUR: Ms = 60 * MINUTE;
/// Longest time that a message takes.
pub(crate) const DELAY_MAX: Ms = 2 * SECOND;

pub(crate) const SITES: usize = 2;
pub(crate) const HOSTS: usize = 6;
pub(crate) const MACHINES: u128 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Vault,
    Site(usize),
    Host(usize),
}

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    SitePoll(Poll),
    SiteDocuments(Option<Box<Documents>>),
    SiteReport(Box<SiteReport>),
    SiteReply(Box<SiteReply>),
    Poll(Poll),
    Documents(Option<Box<Documents>>),
    Report(Box<HostReport>),
    Reply(Box<ReportReply>),
    /// A source asks to write.
    Begin {
        machine: MachineId,
        epoch: Epoch,
    },
    Begun {
        machine: MachineId,
        result: Result<(u64, Option<PointId>), bool>,
    },
    /// A cycle, whole, that shows the instant `captured`.
    Cycle {
        machine: MachineId,
        epoch: Epoch,
        session: u64,
        captured: Ms,
    },
    Sealed {
        machine: MachineId,
        captured: Ms,
        result: Result<PointId, bool>,
    },
    /// Has the other side taken the machine over?
    AskWitness {
        machine: MachineId,
        nonce: u128,
    },
    Witness {
        machine: MachineId,
        witness: Option<Witness>,
    },
    /// The machine is handed over.
    HandOver {
        seal: Seal,
        captured: Ms,
    },
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    Arrives { from: Node, to: Node, call: u64, message: Message },
    Timer { node: Node, life: u64, timer: Timer },
    Fault(Fault),
    Operator,
    Bookkeeping,
}

/// What a part wanted to be reminded of. Those with a number count only while it is the last.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Poll(u64),
    PollGivenUp(u64),
    Report(u64),
    ReportGivenUp(u64),
    Tick,
    Held,
    Cycle(MachineId, u64),
    Send(MachineId, u64),
    CycleGivenUp(MachineId, u64),
    Boot(MachineId),
    Start,
}

pub(crate) struct World {
    pub(crate) now: Ms,
    pub(crate) chance: Chance,
    pub(crate) fate: Fate,
    pub(crate) calm: bool,
    events: BTreeMap<(Ms, u64), Event>,
    count: u64,
    /// Pairs that do not reach each other.
    pub(crate) cut: BTreeSet<(Node, Node)>,
    pub(crate) vault: Vault,
    pub(crate) sites: Vec<Site>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) truth: Truth,
    pub(crate) log: VecDeque<String>,
    pub(crate) steps: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let fate = Fate::draw(&mut chance);
        World {
            now: 0,
            vault: Vault::new(&mut chance),
            sites: (0..SITES).map(|n| Site::new(n, &mut chance)).collect(),
            hosts: (0..HOSTS).map(|n| Host::new(n, &mut chance)).collect(),
            chance,
            fate,
            calm: true,
            events: BTreeMap::new(),
            count: 0,
            cut: BTreeSet::new(),
            truth: Truth::default(),
            log: VecDeque::new(),
            steps: 0,
        }
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.log.len() > 400 {
            self.log.pop_front();
        }
        let (hours, minutes, ms) = (self.now / HOUR, self.now / MINUTE % 60, self.now % MINUTE);
        self.log.push_back(format!("{hours:02}:{minutes:02}:{ms:05} {}", what()));
    }

    /// A number that nothing else has.
    pub(crate) fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(crate) fn at(&mut self, at: Ms, event: Event) {
        let number = self.number();
        self.events.insert((at.max(self.now), number), event);
    }

    pub(crate) fn after(&mut self, ms: Ms, node: Node, timer: Timer) {
        let life = self.life(node);
        self.at(self.now + ms, Event::Timer { node, life, timer });
    }

    pub(crate) fn life(&self, node: Node) -> u64 {
        match node {
            Node::Vault => self.vault.life,
            Node::Site(n) => self.sites[n].life,
            Node::Host(n) => self.hosts[n].life,
        }
    }

    pub(crate) fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Vault => self.vault.core.is_some(),
            Node::Site(n) => self.sites[n].run.is_some(),
            Node::Host(n) => self.hosts[n].run.is_some(),
        }
    }

    fn is_cut(&self, one: Node, other: Node) -> bool {
        self.cut.contains(&(one.min(other), one.max(other)))
    }

    /// Sends; it arrives once, twice, late or not at all. Only questions are doubled: an
    /// answer comes over the connection of its question.
    pub(crate) fn send(&mut self, from: Node, to: Node, call: u64, message: Message) {
        let lost = !self.calm && self.chance.ppm(self.fate.loss);
        if lost || self.is_cut(from, to) {
            return;
        }
        if !self.calm && self.chance.ppm(self.fate.double) && message.is_question() {
            let at = self.now + self.chance.within(1, DELAY_MAX);
            self.at(at, Event::Arrives { from, to, call, message: message.clone() });
        }
        let slow = !self.calm && self.chance.ppm(self.fate.slow);
        let ms = self.chance.within(1, if slow { DELAY_MAX } else { 40 });
        self.at(self.now + ms, Event::Arrives { from, to, call, message });
    }

    /// Lets everything happen up to an instant.
    pub(crate) fn run_until(&mut self, until: Ms) {
        while let Some(next) = self.events.first_entry() {
            if next.key().0 > until {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.steps += 1;
            self.happen(event);
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives { from, to, call, message } => self.arrive(from, to, call, message),
            Event::Timer { node, life, timer } => {
                if self.life(node) == life && (self.is_up(node) || matches!(timer, Timer::Start)) {
                    self.timer(node, timer);
                }
            }
            Event::Fault(fault) => self.fault(fault),
            Event::Operator => self.operate(),
            Event::Bookkeeping => self.bookkeeping(),
        }
    }

    fn arrive(&mut self, from: Node, to: Node, call: u64, message: Message) {
        if !self.is_up(to) || self.is_cut(from, to) {
            return;
        }
        // A crash before or after what the message does; what it was to answer is lost then.
        let dies = !self.calm && self.chance.ppm(self.fate.dies_at_message);
        if dies && self.chance.ppm(300_000) {
            return self.crash(to);
        }
        let usual = self.fate.loss;
        if dies {
            self.fate.loss = 1_000_000;
        }
        match to {
            Node::Vault => self.vault_hears(from, call, message),
            Node::Site(n) => self.site_hears(n, from, call, message),
            Node::Host(n) => self.host_hears(n, from, call, message),
        }
        self.fate.loss = usual;
        if dies {
            self.crash(to);
        }
    }

    fn timer(&mut self, node: Node, timer: Timer) {
        match node {
            Node::Vault => self.vault_timer(timer),
            Node::Site(n) => self.site_timer(n, timer),
            Node::Host(n) => self.host_timer(n, timer),
        }
    }

    /// A part is killed: what was not durable is gone. It comes back by itself.
    pub(crate) fn crash(&mut self, node: Node) {
        if !self.is_up(node) {
            return;
        }
        let away = self.chance.within(SECOND, self.fate.away);
        self.note(|| format!("{node:?} is killed, for {away} ms"));
        match node {
            Node::Vault => (self.vault.core, self.vault.life) = (None, self.vault.life + 1),
            Node::Site(n) => (self.sites[n].run, self.sites[n].life) = (None, self.sites[n].life + 1),
            Node::Host(n) => (self.hosts[n].run, self.hosts[n].life) = (None, self.hosts[n].life + 1),
        }
        self.after(away, node, Timer::Start);
    }
}

impl Message {
    fn is_question(&self) -> bool {
        matches!(
            self,
            Message::SiteReport(_)
                | Message::Report(_)
                | Message::AskWitness { .. }
                | Message::HandOver { .. }
        )
    }
}

/// A clock as a part has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What the wall clock is ahead of the truth.
    pub(crate) ahead: i64,
    /// When this run of the part began.
    pub(crate) began: Ms,
    /// When the wall clock was set back last.
    pub(crate) set_back: Option<Ms>,
}

const EPOCH_MS: i64 = 1_700_000_000_000;

impl Clock {
    pub(crate) fn new(ahead: i64) -> Clock {
        Clock { ahead, began: 0, set_back: None }
    }

    pub(crate) fn wall(&self, now: Ms) -> u64 {
        u64::try_from(EPOCH_MS + i64::try_from(now).unwrap() + self.ahead).unwrap()
    }

    pub(crate) fn mono(&self, now: Ms) -> std::time::Duration {
        std::time::Duration::from_millis(now.saturating_sub(self.began))
    }
}

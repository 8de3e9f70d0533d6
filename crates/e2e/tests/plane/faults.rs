//! What goes wrong, and how often: each story draws rates of its own.

use super::{
    chance::Chance,
    world::{Event, HOSTS, HOUR, MINUTE, Ms, Node, SECOND, SITES, World},
};

/// How a story is told.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// Times of a million that a message is lost, comes twice, is slow.
    pub(crate) loss: u64,
    pub(crate) double: u64,
    pub(crate) slow: u64,
    /// Times of a million that a part dies of a message.
    pub(crate) dies_at_message: u64,
    /// Times of a million that a transaction is not stored.
    pub(crate) store_fails: u64,
    /// Longest time that a killed part is away.
    pub(crate) away: Ms,
    /// Longest time that a pair stays cut.
    pub(crate) cut: Ms,
    /// Average time from one fault to the next, and from one order to the next.
    pub(crate) every: Ms,
    pub(crate) orders: Ms,
    /// From one report of a host to the next where nothing happens.
    pub(crate) report: Ms,
    /// Whether the vault is restored all the time.
    pub(crate) restless: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Next,
    Mend(Node, Node),
}

impl Fate {
    pub(crate) fn draw(chance: &mut Chance) -> Fate {
        Fate {
            loss: chance.pick(&[0, 1_000, 20_000, 100_000]),
            double: chance.pick(&[0, 1_000, 20_000]),
            slow: chance.pick(&[1_000, 50_000, 300_000]),
            dies_at_message: chance.pick(&[0, 10, 100, 500]),
            store_fails: chance.pick(&[0, 1_000, 50_000]),
            away: chance.pick(&[10 * SECOND, 5 * MINUTE, 2 * HOUR]),
            cut: chance.pick(&[MINUTE, 20 * MINUTE, 4 * HOUR]),
            every: chance.pick(&[5 * MINUTE, 20 * MINUTE, HOUR]),
            orders: chance.pick(&[10 * MINUTE, 30 * MINUTE]),
            report: chance.pick(&[60 * SECOND, 120 * SECOND]),
            restless: false,
        }
    }
}

fn anybody(chance: &mut Chance) -> Node {
    match chance.index(1 + SITES + HOSTS) {
        0 => Node::Vault,
        n if n <= SITES => Node::Site(n - 1),
        n => Node::Host(n - 1 - SITES),
    }
}

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Mend(one, other) => {
                self.cut.remove(&(one, other));
            }
            Fault::Next if self.calm => {}
            Fault::Next => {
                let next = self.now + self.chance.within(1, 2 * self.fate.every);
                self.at(next, Event::Fault(Fault::Next));
                match self.chance.index(8) {
                    0..3 => {
                        let node = anybody(&mut self.chance);
                        self.crash(node);
                    }
                    3..5 => self.cut_off(),
                    5 => self.isolate(),
                    6 => self.set_clock(),
                    _ => self.reboot(),
                }
            }
        }
    }

    pub(crate) fn cut_pair(&mut self, one: Node, other: Node, ms: Ms) {
        let pair = (one.min(other), one.max(other));
        if one != other && self.cut.insert(pair) {
            self.at(self.now + ms, Event::Fault(Fault::Mend(pair.0, pair.1)));
        }
    }

    fn cut_off(&mut self) {
        let (one, other) = (anybody(&mut self.chance), anybody(&mut self.chance));
        let ms = self.chance.within(SECOND, self.fate.cut);
        self.note(|| format!("{one:?} and {other:?} are cut for {ms} ms"));
        self.cut_pair(one, other, ms);
    }

    /// One part reaches nobody; the others reach it again one by one.
    fn isolate(&mut self) {
        let one = anybody(&mut self.chance);
        self.note(|| format!("{one:?} reaches nobody"));
        let others = [Node::Vault]
            .into_iter()
            .chain((0..SITES).map(Node::Site))
            .chain((0..HOSTS).map(Node::Host))
            .collect::<Vec<_>>();
        for other in others {
            let ms = self.chance.within(SECOND, self.fate.cut);
            self.cut_pair(one, other, ms);
        }
    }

    /// The vault's own clock stays: requests expire by it.
    fn set_clock(&mut self) {
        let by = self.chance.pick(&[-86_400_000, -3_600_000, -1_000, 1_000, 3_600_000, 86_400_000]);
        let (now, node) = (self.now, anybody(&mut self.chance));
        let clock = match node {
            Node::Vault => return,
            Node::Site(n) => &mut self.sites[n].clock,
            Node::Host(n) => &mut self.hosts[n].clock,
        };
        clock.ahead += by;
        if by < 0 {
            clock.set_back.push(now);
        }
        self.note(|| format!("the clock of {node:?} is set by {by} ms"));
    }

    fn reboot(&mut self) {
        let n = self.chance.index(HOSTS);
        self.note(|| format!("host {n} loses power"));
        self.lose_power(n);
    }
}

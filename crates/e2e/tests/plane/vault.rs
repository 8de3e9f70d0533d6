//! The vault: the shipped core, and a store that can lose a transaction and be taken back to
//! an older backup.

use std::collections::BTreeMap;

use farshore_control::sync::{POLL_SECS_MAX, Poll};
use farshore_types::{CloudId, PolicyId, SiteId};
use farshore_vault::{Answer, Bug, Command, Core, Moment, Start};
use uuid::Uuid;

use super::{
    chance::Chance,
    world::{Clock, Message, Ms, Node, SECOND, Timer, World},
};

pub(crate) type Stored = BTreeMap<(String, String), Vec<u8>>;

pub(crate) struct Vault {
    pub(crate) core: Option<Core>,
    pub(crate) life: u64,
    pub(crate) clock: Clock,
    pub(crate) stored: Stored,
    pub(crate) backups: Vec<Stored>,
    /// What the next start makes of the rows.
    pub(crate) next_start: Start,
    held: Vec<Held>,
    pub(crate) sites: Vec<SiteId>,
    pub(crate) clouds: Vec<CloudId>,
    pub(crate) policy: PolicyId,
    pub(crate) bug: Option<Bug>,
}

struct Held {
    site: usize,
    call: u64,
    poll: Poll,
    until: Ms,
}

impl Vault {
    pub(crate) fn new(chance: &mut Chance) -> Vault {
        Vault {
            core: None,
            life: 0,
            clock: Clock::new(i64::try_from(chance.below(10_000)).unwrap()),
            stored: Stored::new(),
            backups: Vec::new(),
            next_start: Start::Continued,
            held: Vec::new(),
            sites: Vec::new(),
            clouds: Vec::new(),
            policy: PolicyId(Uuid::nil()),
            bug: None,
        }
    }
}

impl World {
    pub(crate) fn moment(&mut self) -> Moment {
        let clock = self.vault.clock.clone();
        let mono_ms = u64::try_from(clock.mono(self.now).as_millis()).unwrap();
        Moment { wall_ms: clock.wall(self.now), mono_ms, random: self.chance.bytes() }
    }

    /// Makes a vault that was never there.
    pub(crate) fn init_vault(&mut self) {
        let at = self.moment();
        self.vault.core = Some(self.with_bug(Core::init(&at)));
        self.vault.life += 1;
        self.store();
        self.after(SECOND, Node::Vault, Timer::Tick);
    }

    fn with_bug(&self, core: Core) -> Core {
        match self.vault.bug {
            Some(bug) => core.with_bug(bug),
            None => core,
        }
    }

    fn start_vault(&mut self) {
        self.vault.clock.began = self.now;
        self.vault.held.clear();
        let (at, start) = (self.moment(), std::mem::replace(&mut self.vault.next_start, Start::Continued));
        let rows = self.vault.stored.iter();
        let rows = rows.map(|((kind, key), body)| (kind.as_str(), key.as_str(), body.as_slice()));
        let core = Core::load(rows, start, &at).unwrap();
        self.vault.core = Some(self.with_bug(core));
        self.vault.life += 1;
        if !self.store() {
            // A new term is stored before anything else: the program ends, and starts again.
            (self.vault.core, self.vault.next_start) = (None, start);
            return self.after(SECOND, Node::Vault, Timer::Start);
        }
        if start == Start::Restored {
            self.truth.restores += 1;
        }
        let term = self.vault.core.as_ref().unwrap().term();
        self.note(|| format!("the vault starts, {start:?}, term {} of {}", term.number, term.vault));
        self.after(SECOND, Node::Vault, Timer::Tick);
    }

    /// One transaction: false where it could not be stored, and nothing has changed.
    fn store(&mut self) -> bool {
        let fails = !self.calm && self.chance.ppm(self.fate.store_fails);
        let Some(core) = self.vault.core.as_mut() else { return false };
        let changes = core.changes();
        if fails && !changes.is_empty() {
            core.roll_back();
            return false;
        }
        for change in changes {
            let key = (change.kind.to_owned(), change.key);
            match change.body {
                Some(body) => drop(self.vault.stored.insert(key, body)),
                None => drop(self.vault.stored.remove(&key)),
            }
        }
        core.commit();
        true
    }

    /// An order of the operator; none where it was refused, or the vault is away.
    pub(crate) fn order(&mut self, command: &Command) -> Option<Answer> {
        let at = self.moment();
        let answer = match self.vault.core.as_mut()?.run(command, None, &at) {
            Ok(answer) => answer,
            Err(problem) => {
                self.note(|| format!("refused: {command:?}: {problem}"));
                return None;
            }
        };
        if !self.store() {
            return None;
        }
        self.note(|| format!("ordered: {command:?}"));
        self.truth.vault_issued(self.vault.core.as_ref().unwrap());
        self.serve_held();
        Some(answer)
    }

    pub(crate) fn vault_hears(&mut self, from: Node, call: u64, message: Message) {
        let Node::Site(n) = from else { return };
        match message {
            Message::SitePoll(poll) => {
                let until = self.now + poll.wait_secs.min(POLL_SECS_MAX) * SECOND;
                let refused = self.vault.core.as_ref().is_some_and(|core| {
                    core.poll(self.vault.sites[n], &poll, 0)
                        .is_err_and(|problem| problem.code == "superseded")
                });
                if let (true, Some(term), Some(core)) = (refused, poll.term, self.vault.core.as_mut()) {
                    core.hear_of(term);
                    self.store();
                }
                self.vault.held.push(Held { site: n, call, poll, until });
                self.after(until - self.now, Node::Vault, Timer::Held);
                self.serve_held();
            }
            Message::SiteReport(report) => {
                let at = self.moment();
                let Some(core) = self.vault.core.as_mut() else { return };
                let Ok(reply) = core.site_report(&report, &at) else { return };
                if !self.store() {
                    return;
                }
                self.check_ages(&at, report.hosts.iter().map(|(_, host)| host.host));
                self.send(Node::Vault, from, call, Message::SiteReply(Box::new(reply)));
                self.serve_held();
            }
            _ => {}
        }
    }

    fn serve_held(&mut self) {
        let wall = self.vault.clock.wall(self.now);
        let mut waiting = Vec::new();
        for held in std::mem::take(&mut self.vault.held) {
            let Some(core) = &self.vault.core else { return };
            let answer = core.poll(self.vault.sites[held.site], &held.poll, wall).ok();
            let due = answer.as_ref().is_none_or(|documents| {
                let other = held.poll.cursor.is_none_or(|cursor| cursor.term != documents.term);
                other || !documents.documents.is_empty() || self.now >= held.until
            });
            if due {
                let message = Message::SiteDocuments(answer.map(Box::new));
                self.send(Node::Vault, Node::Site(held.site), held.call, message);
            } else {
                waiting.push(held);
            }
        }
        self.vault.held = waiting;
    }

    pub(crate) fn vault_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Start => self.start_vault(),
            Timer::Held => self.serve_held(),
            Timer::Tick => {
                let at = self.moment();
                if let Some(core) = self.vault.core.as_mut() {
                    core.tick(&at);
                }
                self.store();
                self.serve_held();
                self.after(10 * SECOND, Node::Vault, Timer::Tick);
            }
            _ => {}
        }
    }
}

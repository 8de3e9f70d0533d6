//! The core of a site server, as a value: what it holds, whom it serves, what it tells the
//! vault. What must be durable comes out as [`Record`]s and counts only once it was given back
//! by [`Core::apply`]; the same call replays a journal after a restart. All time comes in:
//! `now` is a monotonic clock. This module must never touch a file, a clock or the network.

mod clock;
mod inbox;
mod problems;
mod serving;
mod silence;
mod taken;
mod upward;

use std::{collections::BTreeMap, time::Duration};

use farshore_control::{
    Body, Document, Holder, Key, Order, Term, Verdict,
    sync::{Cursor, Documents},
};
use farshore_pki::Registration;
use farshore_types::{HostId, RegistrationId, SiteId};

use crate::journal::Record;
use clock::VaultClock;
use inbox::{Inbox, Sent};
use silence::{Hearing, Turn};
use taken::Taken;

/// After so long without an answer the vault counts as silent: two long polls and a little.
pub const VAULT_SILENT: Duration = Duration::from_secs(75);

/// After so long without a report or a question a host counts as silent: several of an agent's
/// usual reports.
pub const HOST_SILENT: Duration = Duration::from_secs(45);

/// For so long after the vault's last answer the site server counts as being in contact with
/// it: one long poll and a little. Only then are requests served that delete anything.
pub const IN_CONTACT: Duration = Duration::from_secs(40);

/// For so long after the vault came back the site server tells it that it was silent.
pub const SILENCE_TOLD: Duration = Duration::from_secs(600);

/// Most hosts that a site server listens to.
pub const HOSTS_MAX: usize = 10_000;

/// Something that people are to learn of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The vault has not answered for [`VAULT_SILENT`].
    VaultSilent,
    /// It answers again.
    VaultBack,
    /// A host has not spoken for [`HOST_SILENT`].
    HostSilent(HostId),
    /// It speaks again.
    HostBack(HostId),
    /// A vault with a higher term is followed from now on.
    NewTerm(Term),
    /// A vault spoke that is not followed, and why.
    NotFollowed {
        /// Its term.
        term: Term,
        /// Why.
        why: &'static str,
    },
}

/// A site server.
pub struct Core {
    site: SiteId,
    /// Tells this run's cursors from another's.
    run: u32,
    holder: Holder,
    taken: Taken,
    /// The highest term that anybody has heard of; a superseded vault is to learn of it.
    heard: Option<Term>,
    hosts: BTreeMap<HostId, Host>,
    registrations: BTreeMap<RegistrationId, Registration>,
    vault: Vault,
    events: Vec<Event>,
}

struct Host {
    inbox: Inbox,
    hearing: Hearing,
}

struct Vault {
    cursor: Option<Cursor>,
    clock: VaultClock,
    hearing: Hearing,
    /// For how long it was silent last, and when it came back.
    was_silent: Option<(Duration, Duration)>,
    /// When its last answer came; none: not since the contact was lost.
    answered: Option<Duration>,
    /// Whether everything that it had was taken since the contact began.
    caught_up: bool,
    /// The host whose report was told last.
    after: Option<HostId>,
    /// Reports that are on their way.
    sent: BTreeMap<HostId, Sent>,
}

/// What an answer of the vault is worth, before anything of it counts.
#[derive(Debug, Default, PartialEq)]
pub struct Judged {
    /// To be made durable, and then given to [`Core::apply`].
    pub records: Vec<Record>,
    /// Taken without being kept: requests that delete anything are served from the vault's
    /// mouth, never from a copy (rule R7).
    fleeting: Vec<Document>,
    /// Documents that were not taken, and why.
    pub refused: Vec<(Key, String)>,
    cursor: Option<Cursor>,
    caught_up: bool,
    clock_ms: Option<u64>,
    asked: Duration,
}

impl Core {
    /// The server of a site; `run` is random.
    #[must_use]
    pub fn new(site: SiteId, run: u32, now: Duration) -> Core {
        Core {
            site,
            run,
            holder: Holder::default(),
            taken: Taken::default(),
            heard: None,
            hosts: BTreeMap::new(),
            registrations: BTreeMap::new(),
            vault: Vault {
                cursor: None,
                clock: VaultClock::default(),
                hearing: Hearing::new(now, VAULT_SILENT),
                was_silent: None,
                answered: None,
                caught_up: false,
                after: None,
                sent: BTreeMap::new(),
            },
            events: Vec::new(),
        }
    }

    /// Which site.
    #[must_use]
    pub fn site(&self) -> SiteId {
        self.site
    }

    /// The highest term followed.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.holder.term()
    }

    /// The documents held.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.holder.documents()
    }

    /// A record that is durable, from now or from before. Replayed in order it gives the same
    /// core, but for what is only in memory.
    pub fn apply(&mut self, record: Record, now: Duration) {
        match record {
            Record::Site(_) => {}
            Record::Term(term) => self.follow(term),
            Record::Document(document) => self.hold(&document, now),
            Record::Forgotten(key) => {
                self.holder.forget_removed(&key);
                self.taken.forget(&key);
            }
            Record::Registration(registration) => {
                self.registrations.insert(registration.id, registration);
            }
        }
    }

    /// Forgets registration keys that nobody can use and asks about any more.
    pub fn forget_old(&mut self, now_ms: u64) {
        self.registrations.retain(|_, key| !key.is_over(now_ms));
    }

    /// All that is worth keeping: a journal written anew.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let kept = self.holder.documents().filter(|document| !is_drastic(document)).cloned();
        let site = [Record::Site(self.site)];
        let term = self.holder.term().map(Record::Term);
        let documents = kept.map(|document| Record::Document(Box::new(document)));
        let registrations = self.registrations.values().cloned().map(Record::Registration);
        site.into_iter().chain(term).chain(documents).chain(registrations).collect()
    }

    fn follow(&mut self, term: Term) {
        if self.holder.hear(term) == Order::Newer {
            self.vault.cursor = None;
            self.vault.sent.clear();
            self.hosts.values_mut().for_each(|host| host.inbox.begin_anew());
            self.events.push(Event::NewTerm(term));
        }
        self.hear(term);
    }

    fn hold(&mut self, document: &Document, now: Duration) {
        if self.holder.take(document, None) != Verdict::Taken {
            return;
        }
        self.taken.put(document);
        if let (Key::Host(host), Body::Host(_)) = (&document.key, &document.body) {
            // From now on it is to be heard of.
            self.host(*host, now);
        }
    }

    fn host(&mut self, host: HostId, now: Duration) -> Option<&mut Host> {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&host) {
            return None;
        }
        let new = || Host { inbox: Inbox::default(), hearing: Hearing::new(now, HOST_SILENT) };
        Some(self.hosts.entry(host).or_insert_with(new))
    }

    /// Somebody has heard of a term.
    fn hear(&mut self, term: Term) {
        if self.heard.is_none_or(|heard| heard.order_of(&term) == Order::Newer) {
            self.heard = Some(term);
        }
    }

    /// Judges an answer of the vault, that was asked for at `asked`; none where it is not
    /// followed. Nothing changes yet.
    pub fn judge(&mut self, answer: Documents, asked: Duration) -> Option<Judged> {
        let order = self.holder.term().map_or(Order::Newer, |held| held.order_of(&answer.term));
        let why = match order {
            Order::Newer | Order::Same => None,
            Order::Older => Some("another vault has superseded it"),
            Order::Conflict => Some("two vaults speak with one term"),
        };
        if let Some(why) = why {
            self.events.push(Event::NotFollowed { term: answer.term, why });
            return None;
        }
        let mut judged = Judged {
            cursor: Some(answer.cursor),
            caught_up: !answer.more,
            clock_ms: answer.clock_ms,
            asked,
            ..Judged::default()
        };
        if order == Order::Newer {
            judged.records.push(Record::Term(answer.term));
        }
        let mut trial = self.holder.clone();
        trial.hear(answer.term);
        for document in answer.documents {
            match trial.take(&document, None) {
                Verdict::Taken if is_drastic(&document) => judged.fleeting.push(document),
                Verdict::Taken => judged.records.push(Record::Document(Box::new(document))),
                Verdict::Known => {}
                verdict => judged.refused.push((document.key, format!("{verdict:?}"))),
            }
        }
        Some(judged)
    }

    /// The answer is durable, and counts.
    pub fn take(&mut self, judged: Judged, now: Duration) {
        for record in judged.records {
            self.apply(record, now);
        }
        for document in judged.fleeting {
            self.hold(&document, now);
        }
        let vault = &mut self.vault;
        vault.cursor = judged.cursor;
        vault.answered = Some(now);
        if let Some(clock_ms) = judged.clock_ms {
            vault.clock.told(clock_ms, judged.asked, now);
        }
        let since = vault.hearing.since();
        if let Some(Turn::Back) = vault.hearing.heard(now) {
            vault.was_silent = Some((now.saturating_sub(since), now));
            self.events.push(Event::VaultBack);
        }
        if judged.caught_up && !vault.caught_up {
            vault.caught_up = true;
            self.offer_anew();
        }
    }

    /// Requests that were held back while there was no contact are offered again: the vault
    /// has said by now which of them it still wants.
    fn offer_anew(&mut self) {
        for document in self.holder.documents().filter(|document| is_drastic(document)) {
            self.taken.put(document);
        }
    }

    /// A question to the vault failed.
    pub fn vault_failed(&mut self) {
        let vault = &mut self.vault;
        (vault.answered, vault.caught_up) = (None, false);
        vault.clock.lost();
    }

    /// Whether the vault answers now: it did within [`IN_CONTACT`], and everything that it had
    /// to say was heard.
    #[must_use]
    pub fn is_in_contact(&self, now: Duration) -> bool {
        let fresh = self.vault.answered.is_some_and(|at| now.saturating_sub(at) < IN_CONTACT);
        fresh && self.vault.caught_up
    }

    /// Looks at the clock.
    pub fn tick(&mut self, now: Duration) {
        if self.vault.hearing.look(now).is_some() {
            self.events.push(Event::VaultSilent);
        }
        if self.vault.answered.is_some_and(|at| now.saturating_sub(at) >= IN_CONTACT) {
            self.vault_failed();
        }
        for (id, host) in &mut self.hosts {
            if host.hearing.look(now).is_some() {
                self.events.push(Event::HostSilent(*id));
            }
        }
    }

    /// The registration keys for hosts.
    pub fn registrations(&self) -> impl Iterator<Item = &Registration> {
        self.registrations.values()
    }

    /// Keys that nobody has used, withdrawn: records to be made durable and applied. A
    /// journal that lost more than its torn end may have forgotten that one was used.
    #[must_use]
    pub fn withdraw_unused(&self) -> Vec<Record> {
        let unused = self.registrations.values().filter(|key| key.used.is_none() && !key.withdrawn);
        unused.map(|key| Record::Registration(Registration { withdrawn: true, ..key.clone() })).collect()
    }

    /// When [`Core::tick`] is due next.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        let contact = self.vault.answered.map(|at| at.saturating_add(IN_CONTACT));
        let hosts = self.hosts.values().filter_map(|host| host.hearing.due());
        hosts.chain(self.vault.hearing.due()).chain(contact).min()
    }

    /// What has happened since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

/// Whether a document is a request that stops a guest or deletes anything.
fn is_drastic(document: &Document) -> bool {
    matches!(&document.body, Body::Request(request) if request.action.is_drastic())
}

#[cfg(test)]
mod tests;

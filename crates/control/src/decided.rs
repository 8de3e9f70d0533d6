//! Since when each part of a document is as it is (rule R6). A vault that was restored writes
//! what it knows anew, under a term that beats what it does not know yet; what a host that was
//! silent then tells late may have been decided later all the same. So the parts of a document
//! keep the version in which somebody decided them, however often it is written anew, and of
//! two documents the one unites that has of each part what was decided last. This module must
//! never know who holds what.

use farshore_protection::{Life, Stage};
use serde::{Deserialize, Serialize};

use crate::{Body, Document, HostDocument, Intent, Order, Protection, Version};

/// What is decided by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Whether it is wanted at all.
    Life,
    /// A protection's settings.
    Settings,
    /// What is to happen with a protection now.
    Intent,
    /// Between which hosts a protection is, where its replica lies, and how far its life is.
    Ends,
    /// How a protection's first copy is made, of which disks, and which addresses its guest gets.
    Copy,
    /// A host's name and address, and whether it is in maintenance.
    Host,
}

const PARTS: [Part; 6] = [Part::Life, Part::Settings, Part::Intent, Part::Ends, Part::Copy, Part::Host];

/// Whether nothing of a part was decided between two bodies. What the other body does not
/// have was decided.
fn is_same(part: Part, one: &Body, other: &Body) -> bool {
    match (one, other) {
        (Body::Removed { .. }, Body::Removed { .. }) => true,
        (Body::Removed { .. }, _) | (_, Body::Removed { .. }) => false,
        (Body::Protection(one), Body::Protection(other)) => match part {
            Part::Settings => one.settings == other.settings,
            Part::Intent => (one.intent, paused(one)) == (other.intent, paused(other)),
            Part::Ends => {
                let ends = |body: &Protection| (body.source.host, body.target.host, body.place.clone());
                ends(one) == ends(other) && course(one) == course(other)
            }
            Part::Copy => {
                let copy = |body: &Protection| (body.initial, body.excluded.clone(), body.addresses.clone());
                copy(one) == copy(other)
            }
            Part::Life | Part::Host => true,
        },
        (Body::Host(one), Body::Host(other)) => {
            let host = |body: &HostDocument| HostDocument { peers: Vec::new(), ..body.clone() };
            part != Part::Host || host(one) == host(other)
        }
        // Of two bodies of a request or of trust the one that is held is not chosen by parts.
        _ => true,
    }
}

/// Whether what was decided in `other` was decided after what was in `one`. Two vaults of one
/// term decide without each other: then the order is only the same for all.
fn is_later(one: &Version, other: &Version) -> bool {
    match one.order_of(other) {
        Order::Newer => true,
        Order::Older | Order::Same => false,
        Order::Conflict => (one.generation, one.term.vault) < (other.generation, other.term.vault),
    }
}

impl Document {
    /// In which version a part was decided as it is.
    #[must_use]
    pub fn decided_in(&self, part: Part) -> Version {
        self.decided.get(&part).copied().unwrap_or(self.version)
    }

    /// Whether each part was decided when it was in `other`.
    #[must_use]
    pub fn is_decided_as(&self, other: &Document) -> bool {
        PARTS.into_iter().all(|part| self.decided_in(part) == other.decided_in(part))
    }

    /// The document in the place of `before`: parts that are as they were there were decided
    /// when they were there.
    #[must_use]
    pub fn after(mut self, before: &Document) -> Document {
        let same = PARTS.into_iter().filter(|part| is_same(*part, &before.body, &self.body));
        self.decided = same.map(|part| (part, before.decided_in(part))).collect();
        self
    }

    /// Of each part what was decided last: `self` where that is in both. The version is the
    /// higher one; what is made of it is to be written anew.
    #[must_use]
    pub fn united(&self, other: &Document) -> Document {
        let mut united = if self.is_beaten_in(Part::Life, other) { other.clone() } else { self.clone() };
        let higher = matches!(self.version.order_of(&other.version), Order::Newer | Order::Conflict);
        united.version = if higher { other.version } else { self.version };
        united.version.generation = self.version.generation.max(other.version.generation);
        united.hosts = self.hosts.union(&other.hosts).copied().collect();
        // From now on its own version says nothing of when its parts were decided.
        let whole = if self.is_beaten_in(Part::Life, other) { other } else { self };
        united.decided = PARTS.into_iter().map(|part| (part, whole.decided_in(part))).collect();
        if !self.is_beaten_in(Part::Life, other) && !other.is_beaten_in(Part::Life, self) {
            let parts = [Part::Settings, Part::Intent, Part::Ends, Part::Copy, Part::Host];
            for part in parts.into_iter().filter(|part| self.is_beaten_in(*part, other)) {
                take(part, &mut united.body, &other.body);
                united.decided.insert(part, other.decided_in(part));
            }
        }
        take_what_only_rises(&mut united.body, &self.body);
        take_what_only_rises(&mut united.body, &other.body);
        united
    }

    fn is_beaten_in(&self, part: Part, other: &Document) -> bool {
        if let (Part::Ends, Body::Protection(own), Body::Protection(others)) = (part, &self.body, &other.body)
            && how_far(own) != how_far(others)
        {
            // Whose the machine is goes before what was decided of it (rule R2).
            return how_far(own) < how_far(others);
        }
        is_later(&self.decided_in(part), &other.decided_in(part))
    }
}

/// Whether a person has paused it, as far as its life says.
fn paused(body: &Protection) -> Option<bool> {
    body.life.as_ref().map(|life| life.paused)
}

fn pause(body: &mut Protection, paused: Option<bool>) {
    if let (Some(life), Some(paused)) = (&mut body.life, paused) {
        life.paused = paused;
    }
}

/// Its life without what is another part's.
fn course(body: &Protection) -> Option<Life> {
    body.life.as_ref().map(|life| Life { paused: false, ..life.clone() })
}

/// How far its life is. A document of before tells only who owned the machine.
fn how_far(body: &Protection) -> (u64, u64) {
    body.life.as_ref().map_or((body.epoch.number, 0), how_far_is)
}

/// By the highest epoch that was issued, then by what people decided.
fn how_far_is(life: &Life) -> (u64, u64) {
    (life.issued.number, life.version)
}

/// Whether a host that holds a document in a version may know something that the vault, whose own
/// is of another one, does not. A version of an older term does not tell: the vault may have
/// written its own anew before it heard of that.
#[must_use]
pub fn may_tell(own: Option<&Version>, held: &Version) -> bool {
    let Some(own) = own else { return true };
    match own.order_of(held) {
        Order::Same => false,
        Order::Older => own.term != held.term,
        Order::Newer | Order::Conflict => true,
    }
}

/// The life that a document tells of to a vault that knows another one, or none; a document of
/// before there were lives tells who owns the machine, and whether it is paused.
#[must_use]
pub fn learned_life(body: &Protection, known: Option<&Life>) -> Life {
    if let Some(life) = &body.life {
        // An end that its hosts never heard of, as they hold it now, is none: it goes on from there.
        if let Some(ended) = known.filter(|known| known.stage == Stage::Disabled) {
            let issued = if ended.issued.number > life.issued.number { ended.issued } else { life.issued };
            let version = ended.version.max(life.version) + 1;
            return Life { version, issued, ..life.clone() };
        }
        // What the vault has heard meanwhile may be further than what was ever written.
        let further = known.filter(|known| how_far_is(known) > how_far_is(life));
        return further.map_or_else(|| life.clone(), |known| Life { paused: life.paused, ..known.clone() });
    }
    let hosts = [body.source.host, body.target.host];
    let life = Life::of_before(hosts, body.epoch, body.intent == Intent::Pause, false, true, None);
    let issued = known.map(|known| known.issued).filter(|issued| issued.number > life.issued.number);
    Life {
        version: known.map_or(1, |known| known.version + 1),
        issued: issued.unwrap_or(life.issued),
        ..life
    }
}

fn take(part: Part, into: &mut Body, from: &Body) {
    match (into, from) {
        (Body::Protection(into), Body::Protection(from)) => match part {
            Part::Settings => into.settings.clone_from(&from.settings),
            Part::Intent => {
                into.intent = from.intent;
                pause(into, paused(from));
            }
            Part::Ends => {
                (into.source, into.target) = (from.source.clone(), from.target.clone());
                into.place.clone_from(&from.place);
                let paused = paused(into);
                into.life.clone_from(&from.life);
                pause(into, paused);
            }
            Part::Copy => {
                (into.initial, into.excluded) = (from.initial, from.excluded.clone());
                into.addresses.clone_from(&from.addresses);
            }
            Part::Life | Part::Host => {}
        },
        (Body::Host(into), Body::Host(from)) if part == Part::Host => {
            let peers = std::mem::take(&mut into.peers);
            *into = HostDocument { peers, ..from.clone() };
        }
        _ => {}
    }
}

fn take_what_only_rises(into: &mut Body, from: &Body) {
    match (into, from) {
        (Body::Protection(into), Body::Protection(from)) => {
            into.resync = into.resync.max(from.resync);
            if into.epoch.number < from.epoch.number {
                into.epoch = from.epoch;
            }
        }
        (Body::Trust(into), Body::Trust(from)) if into.revoked_number < from.revoked_number => {
            into.clone_from(from);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;

//! The documents that one party holds: an agent its own, a site server those of its hosts.
//! What arrives is taken only where it is newer (rule R4), nothing disappears because it is
//! not mentioned (R5), and no epoch ever goes back (R2). This module must never know what
//! is done about a document.

use std::{collections::BTreeMap, sync::Arc};

use farshore_types::{Epoch, EpochOrder};

use crate::{Body, Document, Key, Order, Term, Version};

/// Most documents that one party holds.
pub const DOCUMENTS_MAX: usize = 100_000;

/// What became of a document that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is held now; to be made durable before it is acted on.
    Taken,
    /// It is held already.
    Known,
    /// A newer one is held: who sent it is to learn that.
    Stale {
        /// The version that is held.
        held: Version,
    },
    /// Two vaults speak with one term. The one held stays.
    Conflict {
        /// The version that is held.
        held: Version,
    },
    /// Its epoch is below one that is known: whoever wrote it has not learned that yet.
    LowerEpoch {
        /// The epoch that is held.
        held: Epoch,
    },
    /// It carries another token for an epoch's number that is known.
    EpochConflict {
        /// The epoch that is held.
        held: Epoch,
    },
    /// It makes no sense, or there are too many.
    Refused {
        /// Why.
        why: &'static str,
    },
}

/// Documents by key. A clone shares them: a change can be tried on one for little.
#[derive(Clone, Debug, Default)]
pub struct Holder {
    documents: BTreeMap<Key, Arc<Document>>,
    term: Option<Term>,
}

impl Holder {
    /// What was made durable earlier.
    #[must_use]
    pub fn restored(documents: impl IntoIterator<Item = Document>) -> Holder {
        let mut holder = Holder::default();
        for document in documents {
            holder.raise(document.version.term);
            holder.documents.insert(document.key.clone(), Arc::new(document));
        }
        holder
    }

    /// Judges a document, and holds it where it is newer. `known` is the highest epoch that
    /// the party itself knows of the machine, beyond what documents have told it.
    pub fn take(&mut self, arriving: &Document, known: Option<&Epoch>) -> Verdict {
        if !arriving.is_consistent() {
            return Verdict::Refused { why: "its body is not of its key's kind" };
        }
        let held = self.get(&arriving.key);
        if let Some(held) = held {
            match held.version.order_of(&arriving.version) {
                Order::Same => return Verdict::Known,
                Order::Older => return Verdict::Stale { held: held.version },
                Order::Conflict => return Verdict::Conflict { held: held.version },
                Order::Newer => {}
            }
        } else if self.documents.len() >= DOCUMENTS_MAX {
            return Verdict::Refused { why: "too many documents are held" };
        }
        if let Some(verdict) = self.speaks_too_late(arriving) {
            return verdict;
        }
        if let Some(verdict) = epoch_stands_against(arriving, held, known) {
            return verdict;
        }
        self.raise(arriving.version.term);
        self.documents.insert(arriving.key.clone(), Arc::new(arriving.clone()));
        Verdict::Taken
    }

    /// A vault of an earlier term says nothing new, not even about new things.
    fn speaks_too_late(&self, arriving: &Document) -> Option<Verdict> {
        let term = self.term?;
        let held = Version { term, generation: 0 };
        match term.order_of(&arriving.version.term) {
            Order::Older => Some(Verdict::Stale { held }),
            Order::Conflict => Some(Verdict::Conflict { held }),
            Order::Same | Order::Newer => None,
        }
    }

    fn raise(&mut self, term: Term) {
        if self.term.is_none_or(|held| held.order_of(&term) == Order::Newer) {
            self.term = Some(term);
        }
    }

    /// Takes notice of the term in which a vault speaks, before any document of it.
    pub fn hear(&mut self, term: Term) -> Order {
        let order = self.term.map_or(Order::Newer, |held| held.order_of(&term));
        self.raise(term);
        order
    }

    /// The highest term heard of.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// The document of a key.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Document> {
        self.documents.get(key).map(AsRef::as_ref)
    }

    /// All of them, by key.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.values().map(AsRef::as_ref)
    }

    /// The version held of each key: what is reported upwards.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<Key, Version> {
        self.documents.iter().map(|(key, document)| (key.clone(), document.version)).collect()
    }

    /// Forgets a document that says that nothing is to be done any more, once its sender
    /// knows that it was carried out. Any other stays.
    pub fn forget_removed(&mut self, key: &Key) -> bool {
        let removed = self.get(key).is_some_and(|d| matches!(d.body, Body::Removed { .. }));
        if removed {
            self.documents.remove(key);
        }
        removed
    }
}

fn epoch_stands_against(
    arriving: &Document,
    held: Option<&Document>,
    known: Option<&Epoch>,
) -> Option<Verdict> {
    let epoch = arriving.epoch()?;
    [held.and_then(Document::epoch), known].into_iter().flatten().find_map(|held| {
        match held.order_of(epoch) {
            EpochOrder::Older => Some(Verdict::LowerEpoch { held: *held }),
            EpochOrder::Conflict => Some(Verdict::EpochConflict { held: *held }),
            EpochOrder::Same | EpochOrder::Newer => None,
        }
    })
}

#[cfg(test)]
mod tests;

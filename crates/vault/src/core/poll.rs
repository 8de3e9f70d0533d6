//! What a site server is given when it asks for documents: those of its hosts that were
//! written since its cursor. Nothing is said of what is not in them (rule R5).

use farshore_control::{
    Document, Key, Order, Term,
    sync::{BATCH_MAX, Cursor, Documents, Poll},
};
use farshore_types::SiteId;

use super::Core;
use crate::{Problem, rows::DocumentRow};

impl Core {
    /// Answers a site server; at once, whether there is anything new or not: waiting is the
    /// caller's. There must be no open transaction. `wall_ms` is the vault's clock, by which
    /// requests expire.
    ///
    /// # Errors
    /// An unknown site; a vault that was superseded, as the asker knows.
    pub fn poll(&self, site: SiteId, poll: &Poll, wall_ms: u64) -> Result<Documents, Problem> {
        let head = self.head();
        if self.tables.sites.get(&site).is_none() {
            return Err(Problem::unknown("site", site));
        }
        let beaten = |term: &Term| matches!(head.term.order_of(term), Order::Newer | Order::Conflict);
        if let Some(term) = head.superseded.or(poll.term.filter(beaten)) {
            let what =
                format!("another vault speaks with term {}, this one with {}", term.number, head.term.number);
            return Err(Problem::refused("superseded", what, "ask that vault"));
        }
        // A cursor of another term means nothing: then everything is given anew.
        let since = poll.cursor.filter(|cursor| cursor.term == head.term).map_or(0, |cursor| cursor.sequence);
        let mut rows: Vec<&DocumentRow> = self
            .tables
            .documents
            .rows()
            .filter(|row| row.sequence > since && self.is_for(site, row))
            .collect();
        rows.sort_by_key(|row| row.sequence);
        let more = rows.len() > BATCH_MAX;
        rows.truncate(BATCH_MAX);
        let last = rows.last().map(|row| row.sequence).filter(|_| more);
        let cursor = Cursor { term: head.term, sequence: last.unwrap_or(head.sequence) };
        let documents: Vec<Document> = rows.into_iter().map(|row| row.document.clone()).collect();
        Ok(Documents { term: head.term, cursor, documents, more, clock_ms: Some(wall_ms) })
    }

    /// Takes notice of the term that a site server follows, of which a poll was refused: what
    /// hosts hold need not tell of it, for a vault may have spoken and written nothing (rule R6).
    pub fn hear_of(&mut self, term: Term) {
        self.hear_term(term);
    }

    /// Whether a document is one of this term, and for a host of that site.
    fn is_for(&self, site: SiteId, row: &DocumentRow) -> bool {
        let Document { key, version, hosts, .. } = &row.document;
        let here = |host| self.tables.hosts.get(host).is_some_and(|host| host.site == site);
        let concerned = *key == Key::Trust(site) || hosts.iter().any(here);
        version.term == self.head().term && concerned
    }

    /// The number that the newest document has: a site server whose cursor is below it is
    /// worth waking.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.head().sequence
    }
}

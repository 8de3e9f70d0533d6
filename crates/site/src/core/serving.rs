//! Agents' questions: documents by cursor. This module must never ask the vault.

use std::time::Duration;

use farshore_control::{
    Document, HostReport, Key, Order,
    report::ReportReply,
    sync::{BATCH_MAX, Cursor, Documents, Poll},
};
use farshore_types::HostId;

use super::{Core, Event, Turn, is_drastic};

/// Bits of a cursor that count documents; the others tell this run of the server.
const COUNT_BITS: u32 = 32;

impl Core {
    /// What there is new for a host; none: nothing, or no vault has spoken yet.
    pub fn poll(&mut self, host: HostId, poll: &Poll, now: Duration) -> Option<Documents> {
        self.spoke(host, now);
        if let Some(term) = poll.term {
            self.hear(term);
        }
        let term = self.holder.term()?;
        let since = self.since(poll.cursor, term);
        let may_drastic = self.is_in_contact(now);
        let held = |(at, key): (u32, &Key)| Some((at, self.holder.get(key)?));
        let mut fresh: Vec<(u32, &Document)> = self
            .taken
            .since(host, since)
            .filter_map(held)
            .filter(|(_, document)| may_drastic || !is_drastic(document))
            .take(BATCH_MAX + 1)
            .collect();
        // A new asker, or one of another run or term, is told so even where there is nothing.
        if fresh.is_empty() && since.is_some() {
            return None;
        }
        let more = fresh.len() > BATCH_MAX;
        fresh.truncate(BATCH_MAX);
        let upto = if more { fresh.last().map_or(0, |(at, _)| *at) } else { self.taken.last() };
        let documents = fresh.into_iter().map(|(_, document)| document.clone()).collect();
        Some(self.answer(term, upto, documents, more, now))
    }

    /// The answer when the time is up and there is nothing; none before a vault has spoken.
    #[must_use]
    pub fn nothing_new(&self, poll: &Poll, now: Duration) -> Option<Documents> {
        let term = self.holder.term()?;
        let upto = self.since(poll.cursor, term).unwrap_or(0);
        Some(self.answer(term, upto, Vec::new(), false, now))
    }

    /// How far the asker is by this run's counting; none: it has to begin anew.
    fn since(&self, cursor: Option<Cursor>, term: farshore_control::Term) -> Option<u32> {
        let cursor = cursor.filter(|cursor| term.order_of(&cursor.term) == Order::Same)?;
        let count = u32::try_from(cursor.sequence & u64::from(u32::MAX)).ok()?;
        (cursor.sequence >> COUNT_BITS == u64::from(self.run) && count <= self.taken.last()).then_some(count)
    }

    fn answer(
        &self,
        term: farshore_control::Term,
        upto: u32,
        documents: Vec<Document>,
        more: bool,
        now: Duration,
    ) -> Documents {
        let sequence = u64::from(self.run) << COUNT_BITS | u64::from(upto);
        // Without contact, what the vault's clock says now is not for us to say (rule R7).
        let clock_ms = self.vault.clock.now(now).filter(|_| self.is_in_contact(now));
        Documents { term, cursor: Cursor { term, sequence }, documents, more, clock_ms }
    }

    /// Takes a host's report; it goes up with the next [`Core::report`].
    pub fn take_report(&mut self, host: HostId, report: HostReport, now: Duration) -> Option<ReportReply> {
        self.spoke(host, now);
        let held = self.host(host, now)?;
        held.inbox.take(report, now);
        Some(held.inbox.reply())
    }

    fn spoke(&mut self, host: HostId, now: Duration) {
        let back = self.host(host, now).and_then(|held| held.hearing.heard(now));
        if let Some(Turn::Back) = back {
            self.events.push(Event::HostBack(host));
        }
    }
}

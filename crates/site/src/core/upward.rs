//! What is asked of the vault, and told to it. This module must never serve a host.

use std::{ops::Bound, time::Duration};

use farshore_control::{
    HostReport, Order,
    sync::{Poll, REPORTS_MAX, SiteReply},
};
use farshore_types::HostId;

use super::{Core, Event};

/// Below every host's id.
const NO_HOST: HostId = HostId(uuid::Uuid::nil());

impl Core {
    /// The next question for documents.
    #[must_use]
    pub fn question(&self, wait_secs: u64) -> Poll {
        Poll { cursor: self.vault.cursor, term: self.heard, wait_secs }
    }

    /// Whether the vault lacks something of a host.
    #[must_use]
    pub fn has_reports(&self) -> bool {
        self.hosts.values().any(|host| host.inbox.is_due())
    }

    /// Reports of hosts that the vault does not have, and how many milliseconds ago each was
    /// received; at most `most` and [`REPORTS_MAX`], the rest follows. One message at a time is under
    /// way.
    pub fn report(&mut self, most: usize, now: Duration) -> Vec<(u64, HostReport)> {
        let mut up = Vec::new();
        self.vault.sent.clear();
        // Where there are more than one message takes, the next goes on behind this one.
        let after = self.vault.after.map_or(Bound::Unbounded, Bound::Excluded);
        let (behind, before) = match after {
            Bound::Excluded(id) => (self.hosts.range((after, Bound::Unbounded)), self.hosts.range(..=id)),
            _ => (self.hosts.range::<HostId, _>(..), self.hosts.range((after, Bound::Excluded(NO_HOST)))),
        };
        let due = behind.chain(before).filter(|(_, host)| host.inbox.is_due());
        for (id, host) in due.take(most.min(REPORTS_MAX)) {
            self.vault.after = Some(*id);
            if let Some((age, report, sent)) = host.inbox.up(now) {
                self.vault.sent.insert(*id, sent);
                up.push((age, report));
            }
        }
        up
    }

    /// The vault has what was told last. What it said to each host is passed on with the
    /// answer to that host's next report. One that is not followed has nothing to say.
    pub fn reported(&mut self, reply: &SiteReply) {
        let order = self.holder.term().map_or(Order::Newer, |held| held.order_of(&reply.term));
        let sent = std::mem::take(&mut self.vault.sent);
        if matches!(order, Order::Older | Order::Conflict) {
            let why = "its answer to a report is not taken";
            return self.events.push(Event::NotFollowed { term: reply.term, why });
        }
        for (id, sent) in sent {
            let told = reply.hosts.iter().find(|(host, _)| *host == id);
            if let (Some((_, told)), Some(host)) = (told, self.hosts.get_mut(&id)) {
                host.inbox.delivered(sent, told);
            }
        }
    }

    /// Hosts that have spoken to this run.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        self.hosts.keys().copied()
    }
}

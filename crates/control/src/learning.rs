//! Learn first (rule R6): a vault that was promoted, restored or taken over knows less than
//! those it speaks to. To whom it may speak, and since when, is decided here. This module
//! must never know what is learned.

use std::collections::BTreeSet;

use farshore_types::HostId;
use serde::{Deserialize, Serialize};

/// What a vault of a new term has heard so far.
///
/// A host is sent documents only after it has said, to this term, what it holds. One that
/// stays silent keeps what it has: the vault knows nothing of it, and shows that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learning {
    /// Hosts that were known to exist and have not spoken to this term yet.
    silent: BTreeSet<HostId>,
    /// Hosts that have.
    heard: BTreeSet<HostId>,
    /// Until when, in milliseconds since the Unix epoch, new owners are not issued unless
    /// every host has spoken.
    until_ms: u64,
}

/// Longest time, in milliseconds, that a new vault waits for hosts before it goes on with
/// those that have spoken. Failover of a lost site must not wait for that site.
pub const LEARN_MS: u64 = 20_000;

impl Learning {
    /// A new term begins; `hosts` are those its records name.
    #[must_use]
    pub fn begin(hosts: impl IntoIterator<Item = HostId>, now_ms: u64) -> Learning {
        Learning {
            silent: hosts.into_iter().collect(),
            heard: BTreeSet::new(),
            until_ms: now_ms.saturating_add(LEARN_MS),
        }
    }

    /// A host has told everything it holds.
    pub fn heard(&mut self, host: HostId) {
        self.silent.remove(&host);
        self.heard.insert(host);
    }

    /// A host came to be known: it was enrolled under this term, so nothing older is there.
    pub fn enrolled(&mut self, host: HostId) {
        self.heard(host);
    }

    /// A host is gone for good.
    pub fn forgotten(&mut self, host: HostId) {
        self.silent.remove(&host);
        self.heard.remove(&host);
    }

    /// Whether documents may be sent to a host.
    #[must_use]
    pub fn may_speak_to(&self, host: HostId) -> bool {
        self.heard.contains(&host)
    }

    /// Whether anything may be issued at all: all have spoken, or time is up.
    #[must_use]
    pub fn may_issue(&self, now_ms: u64) -> bool {
        self.silent.is_empty() || now_ms >= self.until_ms
    }

    /// Whether an epoch may be issued for a protection: one of its two hosts has spoken, so
    /// that the highest epoch is known as well as it can be.
    #[must_use]
    pub fn may_issue_for(&self, hosts: &[HostId], now_ms: u64) -> bool {
        self.may_issue(now_ms) && hosts.iter().any(|host| self.may_speak_to(*host))
    }

    /// Hosts that have not spoken yet.
    pub fn silent(&self) -> impl Iterator<Item = HostId> {
        self.silent.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nothing_is_sent_to_a_host_that_has_not_spoken_even_when_time_is_up() {
        let [a, b] = [1, 2].map(|n| HostId(Uuid::from_u128(n)));
        let mut learning = Learning::begin([a, b], 0);
        learning.heard(a);
        assert!(!learning.may_issue(LEARN_MS - 1));
        assert!(learning.may_issue(LEARN_MS));
        assert!(learning.may_speak_to(a) && !learning.may_speak_to(b));
        assert!(learning.may_issue_for(&[a, b], LEARN_MS));
        assert!(!learning.may_issue_for(&[b], LEARN_MS));
        learning.heard(b);
        assert!(learning.may_issue(0));
    }
}

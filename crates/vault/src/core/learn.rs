//! Learn first (rule R6): who has spoken to this term, and what follows when enough have. The
//! rule itself is `farshore_control::learning`; here it is fed.

use farshore_control::{Learning, Order, Term};
use farshore_types::HostId;

use super::Core;
use crate::{Moment, Problem, rows::LearningRow};

impl Core {
    /// Begins to listen: hosts that spoke to this term already, before a restart, count.
    pub(super) fn begin_learning(&mut self, at: &Moment) {
        let head = self.head();
        let (mut silent, mut heard) = (Vec::new(), Vec::new());
        for host in self.tables.hosts.rows() {
            if host.heard_term == head.term.number { heard.push(host.id) } else { silent.push(host.id) }
        }
        let all = heard.iter().chain(&silent).copied();
        let mut learning = Learning::begin(all, at.mono_ms);
        heard.into_iter().for_each(|host| learning.heard(host));
        self.tables.learning.put(LearningRow { learning, since_ms: at.mono_ms });
    }

    /// Whether anything may be issued at all.
    pub(crate) fn may_issue(&self, at: &Moment) -> bool {
        #[cfg(feature = "deliberate-bugs")]
        if self.has_bug(super::Bug::SpeaksFirst) {
            return true;
        }
        let head = self.head();
        let learning = self.tables.learning.get(&());
        let allowed = head.learned || learning.is_some_and(|row| row.learning.may_issue(at.mono_ms));
        head.superseded.is_none() && allowed
    }

    /// That the vault may command now.
    pub(crate) fn may_command(&self, at: &Moment) -> Result<(), Problem> {
        if let Some(term) = self.head().superseded {
            let what = format!("another vault speaks with term {}", term.number);
            return Err(Problem::refused(
                "superseded",
                what,
                "use that vault; this one commands nothing any more",
            ));
        }
        if self.may_issue(at) {
            return Ok(());
        }
        let silent = self.silent_hosts().count();
        let what = format!("the vault is learning what its hosts hold; {silent} have not spoken yet");
        Err(Problem::unavailable("learning", what, "try again in a few seconds"))
    }

    /// Whether an epoch may be issued for a machine that is on these two hosts.
    pub(crate) fn may_issue_for(&self, hosts: [HostId; 2], at: &Moment) -> bool {
        let head = self.head();
        let learning = self.tables.learning.get(&()).map(|row| &row.learning);
        let spoken = hosts.iter().any(|host| self.may_speak_to(*host));
        let allowed = learning.is_some_and(|learning| learning.may_issue_for(&hosts, at.mono_ms));
        self.may_issue(at) && (allowed || (head.learned && spoken))
    }

    /// Hosts that have not spoken to this term yet.
    pub fn silent_hosts(&self) -> impl Iterator<Item = HostId> {
        let row = self.tables.learning.get(&());
        row.into_iter().flat_map(|row| row.learning.silent())
    }

    /// A host has told everything that it holds.
    pub(super) fn host_was_heard(&mut self, host: HostId) {
        let term = self.term().number;
        self.tables.hosts.change(&host, |row| row.heard_term = term);
        self.tables.learning.change(&(), |row| row.learning.heard(host));
    }

    /// A host was made under this term: nothing older is there.
    pub(crate) fn host_was_enrolled(&mut self, host: HostId) {
        let term = self.term().number;
        self.tables.hosts.change(&host, |row| row.heard_term = term);
        self.tables.learning.change(&(), |row| row.learning.enrolled(host));
    }

    /// A host is gone for good, and is waited for no longer.
    pub(crate) fn host_was_removed(&mut self, host: HostId) {
        if !self.may_speak_to(host) {
            self.tables.learning.change(&(), |row| row.learning.forgotten(host));
        }
    }

    /// Marks the end of learning, where it has come.
    pub(super) fn end_learning(&mut self, at: &Moment) {
        if !self.head().learned && self.may_issue(at) {
            self.tables.head.change(&(), |head| head.learned = true);
        }
    }

    /// Takes notice of a term in which some vault spoke. A vault that is learning speaks
    /// above it; one that has commanded already has been superseded.
    pub(super) fn hear_term(&mut self, heard: Term) {
        let head = self.head();
        if matches!(head.term.order_of(&heard), Order::Newer | Order::Conflict) {
            if head.learned {
                self.tables.head.change(&(), |head| {
                    if head.superseded.is_none_or(|known| known.number <= heard.number) {
                        head.superseded = Some(heard);
                    }
                });
            } else {
                self.raise_term(heard.number + 1);
            }
        }
    }

    /// Nothing was said in the old term, so who has spoken has spoken to the new one.
    fn raise_term(&mut self, number: u64) {
        let old = self.term().number;
        self.tables.head.change(&(), |head| head.term.number = number);
        let heard: Vec<HostId> =
            self.tables.hosts.rows().filter(|host| host.heard_term == old).map(|host| host.id).collect();
        for host in heard {
            self.tables.hosts.change(&host, |row| row.heard_term = number);
        }
    }
}

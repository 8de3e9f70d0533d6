//! How the conversation with whoever is above stands: whom to ask, how far everything is
//! known, and what the vault's clock said. Pure: times come in, of a clock that only rises.

use std::{collections::BTreeMap, time::Duration};

use farshore_control::sync::Cursor;
use farshore_types::RequestId;

/// Failures in a row after which the next party is asked.
const FAILURES_MAX: u32 = 3;
/// How long nobody above must have answered before that is a problem that people are shown:
/// two long polls and a little.
const SILENT_AFTER: Duration = Duration::from_secs(75);
/// How long another party than the first is stayed with before the first is tried again.
const RETURN_AFTER: Duration = Duration::from_secs(60);

/// How the conversation stands. In memory only: a new run begins it anew.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    /// Which of the parties is asked.
    at: usize,
    /// Since when that is another one than the first.
    away_since: Option<Duration>,
    failures: u32,
    /// Since when nobody has answered.
    silent_since: Option<Duration>,
    cursor: Option<Cursor>,
    /// What the vault's clock said, and when that was asked for.
    clock: Option<(u64, Duration)>,
    /// When this run first saw each open request.
    pub seen: BTreeMap<RequestId, Duration>,
    /// The last round trip.
    pub transit: Duration,
    /// Digest of the inventory that the other end has.
    pub told_inventory: Option<String>,
    /// Whether the other end wants all documents.
    pub wants_documents: bool,
}

impl Contact {
    /// The vault's clock now, as late as it can be, where it was asked for after `since`.
    #[must_use]
    pub fn vault_ms(&self, since: Duration, now: Duration) -> Option<u64> {
        let (told, asked) = self.clock.filter(|(_, asked)| *asked >= since)?;
        Some(told.saturating_add(super::age::millis(now.saturating_sub(asked))))
    }

    /// Whether the vault's word is of now: it was asked for in this run, not longer ago than
    /// `longest`. What stops a guest holds only that long.
    #[must_use]
    pub fn is_fresh(&self, now: Duration, longest: Duration) -> bool {
        self.clock.is_some_and(|(_, asked)| now.saturating_sub(asked) <= longest)
    }

    /// Which of the parties is asked.
    #[must_use]
    pub fn party(&self) -> usize {
        self.at
    }

    /// How far what that party has to say is durable here.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// It answered, and what it said is durable; with the vault's clock, and when that was
    /// asked for, where it knows it.
    pub fn answered(&mut self, cursor: Cursor, clock: Option<(u64, Duration)>) {
        (self.failures, self.cursor, self.clock) = (0, Some(cursor), clock);
        self.silent_since = None;
    }

    /// How long nobody has answered; nothing while somebody does.
    #[must_use]
    pub fn silent_for(&self, now: Duration) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// What people are to be shown where nobody has answered for too long.
    #[must_use]
    pub fn silence(&self, now: Duration) -> Option<(String, String)> {
        let silent = now.saturating_sub(self.silent_since?);
        (silent >= SILENT_AFTER).then(|| {
            let what =
                format!("neither the site server nor the vault has answered for {} s", silent.as_secs());
            (what, "replication goes on; look at the site server and at the line to it".to_owned())
        })
    }

    /// Nobody answered: after some times the next of `count` is asked, from the beginning,
    /// because a cursor means nothing to anybody else.
    pub fn failed(&mut self, count: usize, now: Duration) {
        self.failures += 1;
        self.silent_since.get_or_insert(now);
        self.clock = None;
        if self.failures >= FAILURES_MAX && count > 1 {
            self.turn_to((self.at + 1) % count, now);
        }
    }

    fn turn_to(&mut self, at: usize, now: Duration) {
        (self.at, self.failures, self.cursor) = (at, 0, None);
        (self.told_inventory, self.clock) = (None, None);
        self.away_since = (at > 0).then_some(now);
    }

    /// The first party is the one to be with, if it answers.
    pub fn go_home(&mut self, now: Duration) {
        if self.away_since.is_some_and(|since| now.saturating_sub(since) >= RETURN_AFTER) {
            self.turn_to(0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use farshore_control::Term;
    use farshore_types::VaultId;
    use uuid::Uuid;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn silence_above_is_shown_after_a_while_and_over_with_an_answer() {
        let term = Term { number: 1, vault: VaultId(Uuid::nil()) };
        let mut contact = Contact::default();
        contact.failed(2, S(1));
        assert_eq!(contact.silence(S(2)), None);
        contact.failed(2, S(70));
        assert!(contact.silence(S(1) + SILENT_AFTER).unwrap().0.contains("75 s"));
        contact.answered(Cursor { term, sequence: 1 }, None);
        assert_eq!(contact.silence(S(200)), None);
        contact.failed(2, S(300));
        assert_eq!(contact.silence(S(301)), None, "it counts from the first failure after the answer");
    }

    #[test]
    fn the_next_party_is_asked_from_the_beginning_and_the_first_again_later() {
        let term = Term { number: 1, vault: VaultId(Uuid::nil()) };
        let cursor = Some(Cursor { term, sequence: 7 });
        let clock = Some((1000, Duration::ZERO));
        let mut contact = Contact { cursor, clock, ..Contact::default() };
        contact.failed(2, S(1));
        assert_eq!((contact.at, contact.cursor, contact.clock), (0, cursor, None), "only a cut");
        contact.failed(2, S(1));
        contact.failed(2, S(1));
        assert_eq!((contact.at, contact.cursor), (1, None), "its cursor means nothing to another");
        contact.failures = 0;
        contact.go_home(S(2));
        assert_eq!(contact.at, 1);
        contact.go_home(S(1) + RETURN_AFTER);
        assert_eq!((contact.at, contact.away_since), (0, None));
        (0..FAILURES_MAX).for_each(|_| contact.failed(1, S(9)));
        assert_eq!(contact.at, 0, "there is nobody else");
    }

    #[test]
    fn the_vaults_word_is_of_now_only_for_a_while_and_not_after_a_cut() {
        let mut contact = Contact::default();
        assert!(!contact.is_fresh(S(0), S(60)), "it was not heard of in this run");
        contact.clock = Some((5000, S(10)));
        assert!(contact.is_fresh(S(70), S(60)));
        assert!(!contact.is_fresh(S(71), S(60)));
        contact.failed(1, S(12));
        assert!(!contact.is_fresh(S(12), S(60)));
    }

    #[test]
    fn the_vaults_clock_counts_only_if_it_was_asked_for_since() {
        let mut contact = Contact::default();
        let seen = S(1);
        assert_eq!(contact.vault_ms(seen, seen), None);
        contact.clock = Some((5000, S(2)));
        assert_eq!(contact.vault_ms(seen, S(4)), Some(7000));
        assert_eq!(contact.vault_ms(S(4), S(4)), None, "it was said before the question came up");
    }
}

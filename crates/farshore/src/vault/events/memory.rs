//! The last events, with ids: a word for this run of looking, and a number. This module must
//! never know what an event means.

use std::collections::VecDeque;

use crate::views::EventView;

/// Most events that are kept: ten for each of some thousand protections.
const KEPT_MAX: usize = 10_000;

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Memory {
    run: String,
    /// Number of the last event; the first has 1.
    last: u64,
    kept: VecDeque<Kept>,
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::vault) struct Kept {
    /// Its number.
    number: u64,
    /// What.
    pub(in crate::vault) event: EventView,
}

/// What there is after an event.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::vault) enum Since {
    /// All of it, and the id of the last one.
    All(Vec<Kept>, String),
    /// It is not known any more what was missed; go on after this id.
    Lost(String),
}

impl Memory {
    /// Forgets everything; ids of before mean nothing from now on.
    pub(super) fn begin_anew(&mut self, run: String) {
        *self = Memory { run, ..Memory::default() };
    }

    pub(super) fn keep(&mut self, events: &[EventView]) {
        for event in events {
            self.last += 1;
            self.kept.push_back(Kept { number: self.last, event: event.clone() });
        }
        let over = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..over);
    }

    pub(super) fn since(&self, last: Option<&str>) -> Since {
        let now = self.id_of(self.last);
        let number = last.and_then(|id| id.strip_prefix(&self.run)?.strip_prefix('-')?.parse::<u64>().ok());
        let oldest = self.kept.front().map_or(self.last, |kept| kept.number - 1);
        match number {
            Some(number) if (oldest..=self.last).contains(&number) => {
                let after = self.kept.iter().filter(|kept| kept.number > number);
                Since::All(after.cloned().collect(), now)
            }
            _ => Since::Lost(now),
        }
    }

    fn id_of(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }
}

impl Kept {
    /// Its id, in a run whose last id is given.
    pub(in crate::vault) fn id(&self, last: &str) -> String {
        let run = last.rsplit_once('-').map_or("", |(run, _)| run);
        format!("{run}-{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> EventView {
        EventView::Reset { why: n.to_string() }
    }

    fn events(since: Since) -> Vec<EventView> {
        match since {
            Since::All(kept, _) => kept.into_iter().map(|kept| kept.event).collect(),
            Since::Lost(id) => panic!("lost at {id}"),
        }
    }

    #[test]
    fn whoever_was_cut_off_goes_on_where_it_was_or_is_told_that_it_cannot() {
        let mut memory = Memory::default();
        memory.begin_anew("run".to_owned());
        let Since::Lost(begin) = memory.since(None) else { panic!("nothing is known yet") };
        assert_eq!(events(memory.since(Some(&begin))), []);
        memory.keep(&[event(1), event(2)]);
        assert_eq!(events(memory.since(Some(&begin))), [event(1), event(2)]);
        let Since::All(kept, last) = memory.since(Some(&begin)) else { panic!("all is kept") };
        assert_eq!(kept[1].id(&last), last);
        assert_eq!(events(memory.since(Some(&kept[0].id(&last)))), [event(2)]);
        // More than is kept.
        memory.keep(&(3..KEPT_MAX + 3).map(event).collect::<Vec<_>>());
        assert!(matches!(memory.since(Some(&begin)), Since::Lost(_)));
        assert_eq!(events(memory.since(Some(&last))).len(), KEPT_MAX);
        // Another run, a number to come, no id at all.
        for wrong in ["other-1", "run-999999", "run-", "run", ""] {
            assert!(matches!(memory.since(Some(wrong)), Since::Lost(_)), "{wrong}");
        }
        memory.begin_anew("again".to_owned());
        assert!(matches!(memory.since(Some(&last)), Since::Lost(_)));
    }
}

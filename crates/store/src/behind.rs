//! Samples that wait to be written: bounded, and the newest value of one instant replaces
//! the older one, so that a figure that is told over and over costs one write. Pure.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::record::Sample;

/// Most samples that wait.
pub const SAMPLES_MAX: usize = 100_000;
/// Most bytes of their names and bodies.
pub const SAMPLES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which sample.
type Place = (String, String, u64);

/// The samples that wait, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    order: VecDeque<Place>,
    bodies: HashMap<Place, Bytes>,
    bytes: usize,
    dropped: u64,
}

impl Behind {
    /// Adds a sample. Where there is no room, the oldest are dropped: the vault must not
    /// fill its memory because the database is away.
    pub(crate) fn add(&mut self, sample: Sample) {
        let place = (sample.series, sample.subject, sample.at_ms);
        self.bytes += sample.body.len();
        if let Some(old) = self.bodies.insert(place.clone(), sample.body) {
            self.bytes -= old.len();
        } else {
            self.bytes += names(&place);
            self.order.push_back(place);
        }
        self.bound();
    }

    /// Takes the oldest, at most `most` of them.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Sample> {
        let count = most.min(self.order.len());
        let places: Vec<Place> = self.order.drain(..count).collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    /// Puts back what could not be written, at its old place; what was told anew meanwhile wins.
    pub(crate) fn put_back(&mut self, samples: Vec<Sample>) {
        for sample in samples.into_iter().rev() {
            let place = (sample.series, sample.subject, sample.at_ms);
            if !self.bodies.contains_key(&place) {
                self.bytes += names(&place) + sample.body.len();
                self.bodies.insert(place.clone(), sample.body);
                self.order.push_front(place);
            }
        }
        self.bound();
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many were dropped, since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Counts samples that are given up.
    pub(crate) fn give_up(&mut self, samples: usize) {
        self.dropped += samples as u64;
    }

    fn bound(&mut self) {
        while self.order.len() > SAMPLES_MAX || self.bytes > SAMPLES_BYTES_MAX {
            let Some(place) = self.order.pop_front() else { return };
            self.remove(place);
            self.dropped += 1;
        }
    }

    fn remove(&mut self, place: Place) -> Option<Sample> {
        let body = self.bodies.remove(&place)?;
        self.bytes -= names(&place) + body.len();
        let (series, subject, at_ms) = place;
        Some(Sample { series, subject, at_ms, body })
    }
}

fn names((series, subject, _): &Place) -> usize {
    series.len() + subject.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, body: &'static str) -> Sample {
        Sample { series: "cycles".into(), subject: "m1".into(), at_ms, body: body.into() }
    }

    #[test]
    fn the_same_instant_told_again_is_one_write_with_the_newest_value() {
        let mut behind = Behind::default();
        for body in ["a", "b", "c"] {
            behind.add(sample(1, body));
        }
        behind.add(sample(2, "d"));
        assert_eq!(behind.take(10), [sample(1, "c"), sample(2, "d")]);
        assert_eq!((behind.len(), behind.bytes, behind.dropped), (0, 0, 0));
    }

    #[test]
    fn what_could_not_be_written_comes_back_but_never_over_what_is_newer() {
        let mut behind = Behind::default();
        (1..=3).for_each(|at| behind.add(sample(at, "old")));
        let taken = behind.take(2);
        behind.add(sample(2, "new"));
        behind.put_back(taken);
        assert_eq!(behind.take(10), [sample(1, "old"), sample(3, "old"), sample(2, "new")]);
    }

    #[test]
    fn there_is_a_bound_and_the_oldest_go_first() {
        let mut behind = Behind::default();
        let many = SAMPLES_MAX as u64 + 7;
        (0..many).for_each(|at| behind.add(sample(at, "x")));
        assert_eq!((behind.len(), behind.dropped()), (SAMPLES_MAX, 7));
        assert_eq!(behind.take(1), [sample(7, "x")]);
        let body = Bytes::from(vec![0; SAMPLES_BYTES_MAX / 4]);
        (0..9).for_each(|at| behind.add(Sample { body: body.clone(), ..sample(many + at, "") }));
        assert!(behind.bytes <= SAMPLES_BYTES_MAX);
        assert_eq!(behind.len(), 3, "the small ones made room");
    }
}

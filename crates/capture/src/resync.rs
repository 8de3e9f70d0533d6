//! Comparing everything: when it may begin by itself, and that it was asked for. Pure but for
//! the gate, which its owner may open and close at any time. This module must never read a
//! disk.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    map::{Record, Scan, ScanReason},
    plan::Plan,
};

/// Why everything is read, where somebody asked for it.
pub(crate) const ASKED: &str = "it was asked for";

/// Whether a resync may begin by itself now. One that was asked for, or has begun, goes on
/// all the same. Clones share it.
#[derive(Clone, Debug)]
pub struct ResyncGate(Arc<AtomicBool>);

impl Default for ResyncGate {
    fn default() -> ResyncGate {
        ResyncGate::new(true)
    }
}

impl ResyncGate {
    /// A gate that is open, or closed.
    #[must_use]
    pub fn new(open: bool) -> ResyncGate {
        ResyncGate(Arc::new(AtomicBool::new(open)))
    }

    /// Opens or closes it.
    pub fn set(&self, open: bool) {
        self.0.store(open, Ordering::Relaxed);
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why the plan's resync, which has not begun, has to wait for the gate; none: it has not.
pub(crate) fn held_back(plan: &Plan, gate: &ResyncGate) -> Option<String> {
    match &plan.scan {
        Some(Scan { why: ScanReason::Resync(why), checkpoint: None, done, .. })
            if done.is_empty() && why != ASKED && !gate.is_open() =>
        {
            Some(why.clone())
        }
        _ => None,
    }
}

/// What the record becomes where the `wanted`th resync is asked for; none: it was begun
/// already. Without an element at the target there is nothing to compare with, and a first
/// copy or a resync that is under way is one.
pub(crate) fn asked(record: &Record, wanted: u64) -> Option<Record> {
    let due = wanted > record.resync;
    due.then(|| {
        let mut next = Record { resync: wanted, ..record.clone() };
        let reads_all = |scan: &Scan| scan.why != ScanReason::Rest;
        if record.sealed.is_some() && !record.scan.as_ref().is_some_and(reads_all) {
            let why = ScanReason::Resync(ASKED.to_owned());
            next.checkpoint = None;
            next.scan = Some(Scan { why, checkpoint: None, done: Default::default(), since: None });
        }
        next
    })
}

#[cfg(test)]
mod tests {
    use farshore_types::{PointId, PointRef, RootDigest};

    use super::*;

    fn sealed() -> Record {
        let id = PointId { epoch: 1, number: 1 };
        Record { sealed: Some(PointRef { id, root: RootDigest::NONE }), ..Record::default() }
    }

    #[test]
    fn a_resync_is_begun_once_for_every_time_it_is_asked_for() {
        let begun = asked(&sealed(), 1).unwrap();
        assert!(begun.scan.is_some());
        assert_eq!(asked(&begun, 1), None);
        assert_eq!(asked(&Record { scan: None, ..begun.clone() }, 1), None);
        assert!(asked(&begun, 2).is_some());
    }

    #[test]
    fn a_first_copy_that_is_under_way_does_not_begin_anew() {
        let why = ScanReason::Initial;
        let done = [("vda".parse().unwrap(), 7)].into();
        let scan = Scan { why, checkpoint: Some("farshore-1".to_owned()), done, since: None };
        let record = Record { scan: Some(scan.clone()), ..sealed() };
        assert_eq!(asked(&record, 1).unwrap().scan, Some(scan));
    }

    #[test]
    fn only_a_resync_that_nobody_asked_for_waits_for_the_gate() {
        let plan = |why: &str| {
            let why = ScanReason::Resync(why.to_owned());
            let scan = Scan { why, checkpoint: None, done: Default::default(), since: None };
            Plan { disks: Vec::new(), checkpoint: true, scan: Some(scan) }
        };
        let closed = ResyncGate::new(false);
        assert_eq!(held_back(&plan("lost"), &closed), Some("lost".to_owned()));
        assert_eq!(held_back(&plan("lost"), &ResyncGate::default()), None);
        assert_eq!(held_back(&plan(ASKED), &closed), None);
        let mut begun = plan("lost");
        begun.scan.as_mut().unwrap().checkpoint = Some("farshore-1".to_owned());
        assert_eq!(held_back(&begun, &closed), None, "it has begun");
    }
}

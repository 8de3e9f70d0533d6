//! Does a session's work in order, apart from its connection: frames are read while the
//! previous ones are stored, and a slow disk holds up nobody else.

use farshore_types::{DiskKey, PointRef};
use farshore_wire::{Data, DigestPage, DiskSize, Failure, FailureCode, OpenCycle, Seal, Ticket, WantDigests};
use tokio::sync::mpsc;

use crate::Receiver;

/// A piece of work.
pub(super) enum Work {
    Open(Ticket, OpenCycle),
    Append(Ticket, Data),
    Seal(Ticket, Seal),
    Drop(u64, Failure),
    Digests(WantDigests),
}

/// What became of it.
pub(super) enum Report {
    Appended(Ticket),
    Sealed(Ticket, PointRef),
    Failed(Ticket, Failure),
    Digests(Result<DigestPage, Failure>),
}

pub(super) struct Worker {
    receiver: Box<dyn Receiver>,
    /// Disks of the open cycle; empty where none is open, or it failed.
    disks: Vec<DiskSize>,
    reports: mpsc::UnboundedSender<Report>,
}

impl Worker {
    /// `disks` are those of a held cycle that goes on.
    pub(super) fn new(
        receiver: Box<dyn Receiver>,
        disks: Vec<DiskSize>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Worker {
        Worker { receiver, disks, reports }
    }

    /// Works until the queue is closed and empty; gives the receiver back.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Work>) -> Box<dyn Receiver> {
        while let Some(work) = queue.recv().await {
            if let Some(report) = self.work(work).await {
                // Reports outlive the connection: they tell what a resume starts from.
                self.reports.send(report).ok();
            }
        }
        self.receiver
    }

    async fn work(&mut self, work: Work) -> Option<Report> {
        match work {
            Work::Open(ticket, open) => {
                let opened = self.receiver.open_cycle(&open).await;
                self.disks = open.disks;
                self.settle(ticket, opened).map(|failure| Report::Failed(ticket, failure))
            }
            // After a failure, what was still queued for the cycle is nobody's any more.
            Work::Append(..) | Work::Seal(..) | Work::Drop(..) if self.disks.is_empty() => None,
            Work::Append(ticket, data) => Some(self.append(ticket, data).await),
            Work::Seal(ticket, seal) => {
                let sealed = self.receiver.seal(seal).await;
                self.disks.clear();
                Some(match sealed {
                    Ok(point) => Report::Sealed(ticket, point),
                    Err(failure) => Report::Failed(ticket, failure),
                })
            }
            Work::Drop(cycle, why) => {
                self.disks.clear();
                self.receiver.abort(cycle, &why).await;
                None
            }
            Work::Digests(want) => Some(Report::Digests(self.receiver.digests(&want.disk, want.from).await)),
        }
    }

    async fn append(&mut self, ticket: Ticket, data: Data) -> Report {
        let stored = match self.disk(data.disk) {
            Some(key) => self.receiver.append(&key, data.records).await,
            None => {
                Err(Failure::new(FailureCode::Other, "data for an unknown disk", "report this as a fault"))
            }
        };
        match self.settle(ticket, stored) {
            None => Report::Appended(ticket),
            Some(failure) => Report::Failed(ticket, failure),
        }
    }

    fn disk(&self, index: u16) -> Option<DiskKey> {
        self.disks.get(usize::from(index)).map(|disk| disk.key.clone())
    }

    /// Forgets the cycle after a failure.
    fn settle(&mut self, ticket: Ticket, result: Result<(), Failure>) -> Option<Failure> {
        let failure = result.err()?;
        tracing::warn!(cycle = ticket.cycle, %failure, "cycle dropped");
        self.disks.clear();
        Some(failure)
    }
}

//! The open store and what it can be asked. One owner at a time writes; readers take a
//! [`PointReader`](crate::PointReader) and need the store no more.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use farshore_env::{Clock, File, Files};
use farshore_types::{DiskKey, Epoch, EpochOrder, MachineId, PointId, PointRef};

use crate::{
    OpenReport, Phase, Pin, PointInfo, ReplicaError,
    aside::Aside,
    chain::{Chain, Element},
    cycle::OpenCycle,
    image::Image,
    layout::Layout,
    read::ReaderPins,
    sectors::Sectors,
    state::State,
};

/// How a store behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The newest point is published when the last one is this old.
    pub publish_every: Duration,
    /// Points published that long after the one before stay published.
    pub keep_published_every: Duration,
    /// Deltas are merged when those waiting have at least one entry for this many of what
    /// they would be merged into; larger costs fewer writes and holds dead data longer.
    pub merge_ratio: u64,
    /// Bytes of the file system, besides those of the largest disk's tables, that cycles
    /// leave free: pruning and bringing up must write before they free anything.
    pub reserve: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            publish_every: Duration::from_secs(300),
            keep_published_every: Duration::from_secs(3600),
            merge_ratio: 8,
            reserve: 256 << 20,
        }
    }
}

/// Space a replica takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Sum of the images' sizes, holes included.
    pub images: u64,
    /// Sum of the chain's files.
    pub chain: u64,
}

/// One machine's replica, open and locked.
pub struct Replica {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) layout: Layout,
    pub(crate) options: Options,
    pub(crate) state: State,
    pub(crate) chain: Chain,
    pub(crate) aside: Aside,
    pub(crate) images: BTreeMap<DiskKey, Image>,
    pub(crate) open: Option<OpenCycle>,
    pub(crate) readers: ReaderPins,
    pub(crate) report: OpenReport,
    /// Saving the record failed: which one is on disk is unknown until the next save.
    pub(crate) record_in_doubt: bool,
    /// Places of elements whose seal failed but that a crash may yet show.
    pub(crate) doubtful: BTreeMap<DiskKey, Sectors>,
    /// When the last element that was sealed here was captured, by the monotonic clock.
    pub(crate) captured: Option<(PointId, Duration)>,
    /// Holds the directory's lock for as long as the store lives.
    pub(crate) _lock: Arc<dyn File>,
}

impl Replica {
    /// Whose replica this is.
    #[must_use]
    pub fn machine(&self) -> MachineId {
        self.state.machine
    }

    /// The machine's name as its source last gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The store's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.layout.dir()
    }

    /// What opening found and mended.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// What the replica is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.state.phase
    }

    /// The epoch that may write.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state.epoch
    }

    /// The last durable element, point or stage, which the source's digest map must match.
    #[must_use]
    pub fn last(&self) -> Option<PointRef> {
        self.chain.last_ref()
    }

    /// Disks and sizes of the last element.
    #[must_use]
    pub fn disks(&self) -> Vec<(DiskKey, u64)> {
        self.chain.last().map_or(Vec::new(), sizes)
    }

    /// The recovery points, oldest first.
    #[must_use]
    pub fn points(&self) -> Vec<PointInfo> {
        self.chain.points().map(|e| self.describe(e)).collect()
    }

    /// One point.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchPoint`], naming those there are.
    pub fn point(&self, id: PointId) -> Result<PointInfo, ReplicaError> {
        self.element(id).map(|e| self.describe(e))
    }

    /// The newest point.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchPoint`] where there is none yet.
    pub fn newest(&self) -> Result<PointInfo, ReplicaError> {
        match self.chain.points().next_back() {
            Some(element) => Ok(self.describe(element)),
            None => Err(self.no_such(PointId { epoch: 0, number: 0 })),
        }
    }

    /// Space taken.
    ///
    /// # Errors
    /// As the system reports.
    pub fn usage(&self) -> Result<Usage, ReplicaError> {
        let mut usage = Usage { images: self.images.values().map(Image::extent).sum(), chain: 0 };
        for element in &self.chain.elements {
            usage.chain += element.delta.size().map_err(|e| element.error(e))?;
        }
        Ok(usage)
    }

    /// Bytes that can still be stored.
    ///
    /// # Errors
    /// As the system reports.
    pub fn free_space(&self) -> Result<u64, ReplicaError> {
        self.files.free_space(self.layout.dir()).map_err(|e| self.io("asking for free space", e))
    }

    /// Whether anyone in this process is reading a point.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.readers.any()
    }

    /// Lets a writer in, if its epoch may write: counts and persists the session. An open
    /// cycle of an earlier session is kept, for the writer to go on with or to open anew.
    ///
    /// # Errors
    /// [`ReplicaError::OlderEpoch`], [`ReplicaError::EpochConflict`], [`ReplicaError::BroughtUp`].
    pub fn begin_session(&mut self, epoch: &Epoch, name: &str) -> Result<u64, ReplicaError> {
        self.check_receiving()?;
        match self.state.epoch.order_of(epoch) {
            EpochOrder::Older => {
                let (machine, held) = (self.state.name.clone(), self.state.epoch.number);
                return Err(ReplicaError::OlderEpoch { machine, arriving: epoch.number, held });
            }
            EpochOrder::Conflict => {
                let machine = self.state.name.clone();
                return Err(ReplicaError::EpochConflict { machine, number: epoch.number });
            }
            EpochOrder::Newer => self.give_up_cycle(),
            EpochOrder::Same => {}
        }
        let mut next = self.state.clone();
        (next.epoch, next.session, next.name) = (*epoch, next.session + 1, name.to_owned());
        self.save(next)?;
        Ok(self.state.session)
    }

    /// The host whose agent wrote last, by its certificate; none before the first session.
    #[must_use]
    pub fn writer(&self) -> Option<&str> {
        self.state.writer.as_deref()
    }

    /// Remembers whose agent writes, durably: that host is to be asked before the machine is
    /// brought up here.
    ///
    /// # Errors
    /// As the system reports.
    pub fn set_writer(&mut self, host: &str) -> Result<(), ReplicaError> {
        if self.writer() == Some(host) {
            return Ok(());
        }
        let next = State { writer: Some(host.to_owned()), ..self.state.clone() };
        self.save(next)
    }

    /// Keeps a point from being pruned until the pin is taken out.
    ///
    /// # Errors
    /// [`ReplicaError::NoSuchPoint`]; else as the system reports.
    pub fn pin(&mut self, pin: Pin) -> Result<(), ReplicaError> {
        self.element(pin.point)?;
        let mut next = self.state.clone();
        if !next.pins.contains(&pin) {
            next.pins.push(pin);
        }
        self.save(next)
    }

    /// Takes a pin out; nothing happens where it is not there.
    ///
    /// # Errors
    /// As the system reports.
    pub fn unpin(&mut self, pin: &Pin) -> Result<(), ReplicaError> {
        let mut next = self.state.clone();
        next.pins.retain(|p| p != pin);
        self.save(next)
    }

    pub(crate) fn save(&mut self, next: State) -> Result<(), ReplicaError> {
        self.record_in_doubt = true;
        next.save(&*self.files, &self.layout)?;
        self.record_in_doubt = false;
        self.state = next;
        Ok(())
    }

    /// Whether the replica takes cycles, by its record and by the one on disk: after a
    /// failed save that may be the next one (a bring-up begun, say), so it is replaced first.
    pub(crate) fn check_receiving(&mut self) -> Result<(), ReplicaError> {
        self.check_record()?;
        match self.state.phase {
            Phase::Receiving => Ok(()),
            Phase::BringingUp { point } | Phase::BroughtUp { point } => {
                Err(ReplicaError::BroughtUp { machine: self.state.name.clone(), point })
            }
        }
    }

    /// Makes the record on disk the one that is known here.
    pub(crate) fn check_record(&mut self) -> Result<(), ReplicaError> {
        if self.record_in_doubt { self.save(self.state.clone()) } else { Ok(()) }
    }

    pub(crate) fn element(&self, id: PointId) -> Result<&Element, ReplicaError> {
        let found = self.chain.position(id).map(|at| &self.chain.elements[at]);
        found.filter(|e| e.is_point()).ok_or_else(|| self.no_such(id))
    }

    fn no_such(&self, id: PointId) -> ReplicaError {
        let ends = (self.chain.points().next(), self.chain.points().next_back());
        let advice = match ends {
            (Some(first), Some(last)) => {
                let count = self.chain.points().count();
                format!("it has {count}, from {} to {}; `points` lists them", first.id(), last.id())
            }
            _ => "it has none yet: the initial replication is not complete".to_owned(),
        };
        ReplicaError::NoSuchPoint { machine: self.state.name.clone(), id, advice }
    }

    fn describe(&self, element: &Element) -> PointInfo {
        let footer = element.footer();
        let id = footer.id;
        let consistency = match footer.kind {
            farshore_delta::ElementKind::Point(c) => c,
            farshore_delta::ElementKind::Stage => farshore_types::Consistency::Crash,
        };
        let disks = sizes(element);
        let published =
            disks.iter().all(|(d, _)| self.images.get(d).is_some_and(|i| i.view().find(id).is_some()));
        PointInfo {
            id,
            root: footer.root,
            consistency,
            captured_ms: footer.captured_ms,
            sealed_ms: footer.sealed_ms,
            disks,
            changed_clusters: footer.disks.iter().map(|d| d.entries).sum(),
            received: footer.received,
            published,
            pinned_by: self.state.pins.iter().filter(|p| p.point == id).map(|p| p.holder.clone()).collect(),
        }
    }

    pub(crate) fn io(&self, what: &'static str, source: std::io::Error) -> ReplicaError {
        ReplicaError::Io { what, dir: self.layout.dir().to_owned(), source }
    }
}

pub(crate) fn sizes(element: &Element) -> Vec<(DiskKey, u64)> {
    element.footer().disks.iter().map(|d| (d.key.clone(), d.size)).collect()
}

//! What a machine wrote here itself becomes a point of the replica: disks of its own that
//! were adopted, or overlays on which it ran. So the host that had the machine keeps its
//! replica from then on, without a copy of what it has already. This module must never know
//! why the machine left.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use farshore_delta::{ElementKind, Entry, Footer, Place};
use farshore_types::{
    CLUSTER_BYTES, CLUSTER_SIZE, Consistency, Digest, DiskKey, PointId, PointRef, RootDigest, clusters_in,
};

use crate::{
    AdoptedDisk, Aside, Phase, Pin, PointReader, Replica, ReplicaError, Stored,
    base::pack,
    bug::{self, Bug},
    cycle::{CYCLE_CLUSTERS_MAX, OpenCycle, WriteFailed, check_reserve, root_of, write_changes},
};

/// Clusters that are stored at once.
const BATCH: usize = 64;

/// Digests of a disk that are known, one for each cluster.
pub type Known = Box<dyn Iterator<Item = io::Result<Digest>> + Send>;

/// What the point is to be.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its name: above all that the replica has.
    pub id: PointId,
    /// Where the disks are, byte for byte, a point that the other host has: that one's root,
    /// so that both know it by the same name. Else it is worked out.
    pub root: Option<RootDigest>,
    /// An instant by this host's clock, in milliseconds since the Unix epoch, before which whoever
    /// has the machine now had everything: that of the last point which both hosts may have. What
    /// was written here since is no part of what goes on there, so the point counts for no younger.
    /// None: that of the replica's last element; where it has none, the point's age is unknown, and
    /// it counts for as old as can be.
    pub captured_ms: Option<u64>,
    /// The machine's definition, opaque here.
    pub definition: Vec<u8>,
    /// Whether what is stored is kept plain.
    pub plain: bool,
    /// The disks that a machine on overlays had when it was left, and their files: one that is no
    /// overlay was added meanwhile, and is kept whole; one of the point that is not named was taken
    /// out. Empty: nobody knows, and they are those of its point.
    pub disks: Vec<(DiskKey, PathBuf)>,
}

impl Replica {
    /// Seals the disks that were adopted, and nothing else, as a point. The same once more
    /// changes nothing.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where the replica has a later element; else as the system
    /// reports.
    pub fn seal_own(&mut self, own: &Own) -> Result<PointRef, ReplicaError> {
        self.check_receiving()?;
        if let Some(sealed) = self.sealed_as(own)? {
            return Ok(sealed);
        }
        let disks = self.disks();
        let changes = vec![Default::default(); disks.len()];
        self.seal_open(
            OpenCycle { id: own.id, disks, changes, received: 0, begun: self.clock.monotonic() },
            own,
        )
    }

    /// Makes what a brought-up machine wrote a point, as the newest one, removes its overlays,
    /// and takes cycles again. The machine must not run any more. Cut anywhere, it is
    /// repeated. Of a disk whose digests are `known` to be those of its bytes only what differs
    /// from the last element is read: one that was made to stand alone has everything.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where nothing was brought up, or the replica has a later
    /// element; else what reading and storing report, and nothing is lost.
    pub fn fold(&mut self, own: &Own, known: BTreeMap<DiskKey, Known>) -> Result<PointRef, ReplicaError> {
        self.check_record()?;
        let sealed = match (self.sealed_as(own)?, self.state.phase) {
            (Some(sealed), _) => sealed,
            (None, Phase::BroughtUp { point }) => {
                self.check_overlays(point)?;
                let active = |replica: &Self, disk: &DiskKey| replica.layout.overlay(disk);
                self.fold_overlays(point, own, active, known)?
            }
            (None, Phase::Receiving | Phase::BringingUp { .. }) => {
                let why = "no machine was brought up here".to_owned();
                return Err(ReplicaError::NotNow { what: "keeping what it wrote", why });
            }
        };
        self.discard()?;
        Ok(sealed)
    }

    /// Makes what the machine wrote on overlays that were put aside points, one for each time, and
    /// removes those overlays: whoever goes back behind a failover that nobody committed loses none
    /// of it. They are numbered by `aside`, which has to be what it was where this was cut, and is
    /// repeated. `own` says what else they are to be, `definition` makes the machine's definition
    /// with the firmware's variables that a file has, where it is there; `holder` pins them.
    ///
    /// # Errors
    /// [`ReplicaError::NotNow`] where more is there than `aside` has numbers for; else as for
    /// [`Replica::fold`].
    pub fn fold_shelf(
        &mut self,
        aside: Aside,
        own: &Own,
        definition: &dyn Fn(&Path) -> Vec<u8>,
        holder: &str,
    ) -> Result<Vec<PointRef>, ReplicaError> {
        self.check_record()?;
        self.finish_shelving()?;
        let shelved = self.shelved()?;
        let times = shelved.len() as u64;
        if times > aside.end.saturating_sub(aside.first) {
            let why = format!("{times} times were put aside, more than were counted before");
            return Err(ReplicaError::NotNow { what: "keeping what was put aside", why });
        }
        let mut sealed = Vec::new();
        for (number, shelved) in (aside.end - times..).zip(shelved) {
            let definition = definition(&self.layout.dir().join(shelved.name_of_nvram()));
            let id = PointId { epoch: aside.epoch, number };
            let own = Own { id, root: None, disks: Vec::new(), definition, ..own.clone() };
            let kept = |replica: &Self, disk: &DiskKey| replica.layout.dir().join(shelved.name_of(disk));
            let point = match self.sealed_as(&own)? {
                Some(point) => point,
                None => self.fold_overlays(shelved.point, &own, kept, BTreeMap::new())?,
            };
            self.pin(Pin { point: point.id, holder: holder.to_owned() })?;
            self.remove_shelved(shelved)?;
            sealed.push(point);
        }
        Ok(sealed)
    }

    /// The element of that name, where it is the last one.
    fn sealed_as(&self, own: &Own) -> Result<Option<PointRef>, ReplicaError> {
        match self.chain.last_ref() {
            Some(last) if last.id == own.id => Ok(Some(last)),
            Some(last) if last.id > own.id => {
                let why = format!("the replica has point {} already, not before {}", last.id, own.id);
                Err(ReplicaError::NotNow { what: "keeping what the machine wrote", why })
            }
            _ => Ok(None),
        }
    }

    fn fold_overlays(
        &mut self,
        point: PointId,
        own: &Own,
        overlay: impl Fn(&Self, &DiskKey) -> PathBuf,
        mut known: BTreeMap<DiskKey, Known>,
    ) -> Result<PointRef, ReplicaError> {
        let (below, last) = (self.reader(point)?, self.last_reader());
        let layers = self.layers(&below, own, overlay)?;
        // A disk is a whole number of sectors; a file need not be.
        let size = |layer: &AdoptedDisk| layer.size().next_multiple_of(512);
        let disks: Vec<(DiskKey, u64)> =
            layers.iter().map(|(disk, layer, _)| (disk.clone(), size(layer))).collect();
        for (disk, size) in &disks {
            self.ensure_image(disk, *size)?;
        }
        let changes = vec![Default::default(); disks.len()];
        self.open =
            Some(OpenCycle { id: own.id, disks, changes, received: 0, begun: self.clock.monotonic() });
        let mut stored = Ok(());
        for (index, (disk, layer, stands)) in layers.iter().enumerate() {
            let look = Fold { disk, layer, below: stands.then_some(&below), last: last.as_ref() };
            let told = known.remove(disk);
            stored = stored.and_then(|()| self.fold_disk(index, &look, told, own.plain));
        }
        let open = self.open.take();
        match (stored, open) {
            (Ok(()), Some(open)) => self.seal_open(open, own),
            (stored, open) => {
                self.open = open;
                self.give_up_cycle();
                Err(stored.err().unwrap_or_else(|| {
                    self.io("keeping what the machine wrote", std::io::ErrorKind::Other.into())
                }))
            }
        }
    }

    /// The files that the machine's disks are in, and whether they are overlays on the point.
    fn layers(
        &self,
        below: &PointReader,
        own: &Own,
        overlay: impl Fn(&Self, &DiskKey) -> PathBuf,
    ) -> Result<Vec<(DiskKey, AdoptedDisk, bool)>, ReplicaError> {
        let overlays: Vec<(DiskKey, PathBuf)> =
            below.disks().into_iter().map(|(disk, _)| (disk.clone(), overlay(self, &disk))).collect();
        let unknown = own.disks.is_empty() || bug::is(Bug::ForgetAdded);
        let disks = if unknown { &overlays } else { &own.disks };
        let mut layers = Vec::new();
        for (disk, path) in disks {
            if !overlays.contains(&(disk.clone(), path.clone())) {
                layers.push((disk.clone(), AdoptedDisk::open(&*self.files, path)?, false));
                continue;
            }
            let layer = AdoptedDisk::open_layer(&*self.files, path)?;
            if !layer.has_our_clusters() {
                let why = format!("the overlay of {disk} has clusters of another size than the replica");
                return Err(ReplicaError::NotNow { what: "keeping what the machine wrote", why });
            }
            let stands = layer.is_layered();
            layers.push((disk.clone(), layer, stands));
        }
        Ok(layers)
    }

    fn fold_disk(
        &mut self,
        index: usize,
        look: &Fold<'_>,
        told: Option<Known>,
        plain: bool,
    ) -> Result<(), ReplicaError> {
        let mut batch: Vec<(u64, Digest, Vec<u8>)> = Vec::new();
        look.changes(told, |cluster, digest, bytes| {
            batch.push((cluster, digest, bytes));
            if batch.len() == BATCH { self.keep(index, &mut batch, plain) } else { Ok(()) }
        })?;
        self.keep(index, &mut batch, plain)
    }

    fn keep(
        &mut self,
        index: usize,
        batch: &mut Vec<(u64, Digest, Vec<u8>)>,
        plain: bool,
    ) -> Result<(), ReplicaError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let (disk, _) = &open.disks[index];
        if open.changes[index].len() + batch.len() > CYCLE_CLUSTERS_MAX {
            let why = format!("it wrote more than {CYCLE_CLUSTERS_MAX} clusters of {disk}");
            return Err(ReplicaError::NotNow { what: "keeping what the machine wrote as one point", why });
        }
        check_reserve(&*self.files, self.layout.dir(), self.options.reserve, &open.disks)?;
        let Some(image) = self.images.get_mut(disk) else { return Ok(()) };
        let packed: Vec<Option<Vec<u8>>> = batch
            .iter()
            .map(|(_, digest, bytes)| if plain || digest.is_zero() { None } else { pack(bytes) })
            .collect();
        let stored: Vec<Stored<'_>> = batch
            .iter()
            .zip(&packed)
            .map(|((_, digest, bytes), packed)| match packed {
                _ if digest.is_zero() => Stored::Zero,
                Some(packed) => Stored::Compressed(packed),
                None => Stored::Raw(bytes),
            })
            .collect();
        let places = image.append(&stored)?;
        for ((cluster, digest, _), place) in batch.drain(..).zip(places) {
            open.changes[index].insert(cluster, (place, digest));
        }
        Ok(())
    }

    /// Makes an element of it, durably; what is not taken is given back.
    fn seal_open(&mut self, open: OpenCycle, own: &Own) -> Result<PointRef, ReplicaError> {
        let before = self.chain.last_ref();
        for (disk, size) in &open.disks {
            self.ensure_image(disk, *size)?;
            if let Some(image) = self.images.get_mut(disk) {
                image.sync()?;
            }
        }
        let (now, monotonic) = (self.clock.wall_ms(), self.clock.monotonic());
        let parent_ms = || self.chain.last().map_or(0, |last| last.footer().captured_ms);
        let captured_ms =
            if bug::is(Bug::AgeOwnFromNow) { now } else { own.captured_ms.unwrap_or_else(parent_ms) };
        let footer = Footer {
            id: open.id,
            parent: before.map(|b| b.id),
            root: own.root.unwrap_or_else(|| root_of(before, &open)),
            kind: ElementKind::Point(Consistency::Crash),
            captured_ms,
            steady_ms: Some(self.steady_ms(now, monotonic)),
            sealed_ms: now,
            received: 0,
            disks: Vec::new(),
            definition: (0, 0),
            definition_crc: 0,
        };
        let (id, root, path) = (open.id, footer.root, self.layout.delta(open.id));
        let written = self.write_element(footer, &own.definition, |writer, _| {
            let failed = |source| ReplicaError::Delta { id, path, source };
            write_changes(writer, &open, self.chain.last(), &self.state.adopted).map_err(failed)
        });
        match written {
            Ok(element) => {
                self.chain.elements.push(element);
                self.captured = Some((id, monotonic));
                Ok(PointRef { id, root })
            }
            Err(WriteFailed { error, perhaps_named }) => {
                self.open = Some(open);
                match perhaps_named {
                    Some(_) => self.hold_doubtful(),
                    None => self.give_up_cycle(),
                }
                Err(error)
            }
        }
    }
}

/// One disk on which a machine ran, beside the last element.
struct Fold<'a> {
    disk: &'a DiskKey,
    layer: &'a AdoptedDisk,
    /// The point on which it stands; none: it stands alone.
    below: Option<&'a PointReader>,
    last: Option<&'a PointReader>,
}

impl Fold<'_> {
    /// Gives every cluster in which the disk differs from the last element, ascending.
    fn changes(
        &self,
        mut told: Option<Known>,
        mut give: impl FnMut(u64, Digest, Vec<u8>) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let mut below = self.below.map(|below| below.map(self.disk)).transpose()?.map(Iterator::peekable);
        let held = self.last.filter(|last| last.disks().iter().any(|(key, _)| key == self.disk));
        let mut last = held.map(|last| last.map(self.disk)).transpose()?.map(Iterator::peekable);
        let mut bytes = vec![0; CLUSTER_SIZE];
        for cluster in 0..clusters_in(self.layer.size()) {
            let under = below.as_mut().map_or(Ok(None), |below| next_of(below, cluster))?;
            let known = last.as_mut().map_or(Ok(None), |last| next_of(last, cluster))?;
            let known = known.map_or(Digest::ZERO, |entry| entry.digest);
            let is = told.as_mut().and_then(Iterator::next).transpose();
            if is.map_err(|e| self.unread(e))? == Some(known) {
                continue;
            }
            let Some(point) = self.below else {
                self.layer.read_at(&mut bytes, cluster * CLUSTER_BYTES)?;
                give_changed(cluster, known, &bytes, &mut give)?;
                continue;
            };
            if self.layer.read_own(&mut bytes, cluster)? {
            } else if bug::is(Bug::FoldOnNewest) || under.map_or(Digest::ZERO, |entry| entry.digest) == known
            {
                continue;
            } else {
                match under.filter(|entry| entry.place != Place::Zero) {
                    Some(entry) => drop(point.read(self.disk, &entry, &mut bytes)?),
                    None => bytes.fill(0),
                }
            }
            give_changed(cluster, known, &bytes, &mut give)?;
        }
        Ok(())
    }

    fn unread(&self, source: io::Error) -> ReplicaError {
        ReplicaError::Io {
            what: "reading known digests of a disk",
            dir: self.disk.to_string().into(),
            source,
        }
    }
}

/// Gives a cluster that is not what is known of it.
fn give_changed(
    cluster: u64,
    known: Digest,
    bytes: &[u8],
    give: &mut impl FnMut(u64, Digest, Vec<u8>) -> Result<(), ReplicaError>,
) -> Result<(), ReplicaError> {
    let digest = Digest::of(bytes);
    if digest == known { Ok(()) } else { give(cluster, digest, bytes.to_vec()) }
}

/// The entry of a cluster, of entries that ascend and are asked for ascending.
fn next_of(
    entries: &mut std::iter::Peekable<impl Iterator<Item = Result<Entry, ReplicaError>>>,
    cluster: u64,
) -> Result<Option<Entry>, ReplicaError> {
    match entries.next_if(|entry| entry.as_ref().map_or(true, |entry| entry.cluster <= cluster)) {
        Some(entry) => entry.map(Some),
        None => Ok(None),
    }
}

//! Opening a store: after any crash it comes back to the last acknowledged element by
//! itself, and says what it dropped.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use farshore_delta::Entry;
use farshore_env::{Clock, Files, OpenMode};
use farshore_types::{DiskKey, MachineId};

use crate::{
    OpenReport, Options, Replica, ReplicaError,
    chain::Chain,
    layout::Layout,
    read::ReaderPins,
    state::State,
};

impl Replica {
    /// Opens the replica of `machine` in `dir`, creating it where the directory is empty
    /// or missing.
    ///
    /// # Errors
    /// [`ReplicaError::Locked`], [`ReplicaError::OtherMachine`], damage that cannot be set
    /// aside, or what the system reports.
    pub fn open(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        dir: &Path,
        machine: MachineId,
        options: Options,
    ) -> Result<Replica, ReplicaError> {
        let layout = Layout::new(dir);
        let io = |source| ReplicaError::Io { what: "creating the directory", dir: dir.to_owned(), source };
        files.create_dir_all(&layout.chain()).map_err(io)?;
        files.sync_dir(dir).map_err(io)?;
        Self::open_with(files, clock, layout, Some(machine), options)
    }

    /// Opens whatever replica is in `dir`.
    ///
    /// # Errors
    /// [`ReplicaError::Missing`]; else as [`Replica::open`].
    pub fn open_existing(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        dir: &Path,
        options: Options,
    ) -> Result<Replica, ReplicaError> {
        Self::open_with(files, clock, Layout::new(dir), None, options)
    }

    fn open_with(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        layout: Layout,
        wanted: Option<MachineId>,
        options: Options,
    ) -> Result<Replica, ReplicaError> {
        let dir = layout.dir().to_owned();
        let io = |source| ReplicaError::Io { what: "locking", dir: dir.clone(), source };
        let held = State::load(&*files, &layout)?;
        let (state, fresh) = match (held, wanted) {
            (None, None) => return Err(ReplicaError::Missing { dir: layout.dir().to_owned() }),
            (None, Some(machine)) => (State::new(machine, ""), true),
            (Some(state), Some(wanted)) if state.machine != wanted => {
                let (found, found_name) = (state.machine, state.name);
                return Err(ReplicaError::OtherMachine { dir: layout.dir().to_owned(), found, found_name, wanted });
            }
            (Some(state), _) => (state, false),
        };
        let lock = files.open(&layout.lock(), OpenMode::Create).map_err(io)?;
        if !lock.try_lock().map_err(io)? {
            return Err(ReplicaError::Locked { dir: layout.dir().to_owned() });
        }
        if fresh {
            state.save(&*files, &layout)?;
        }
        let mut report = OpenReport::default();
        let chain = Chain::open(&*files, &layout, &mut report)?;
        let mut replica = Replica {
            files,
            clock,
            layout,
            options,
            state,
            chain,
            images: BTreeMap::new(),
            open: None,
            readers: ReaderPins::default(),
            report,
            _lock: lock,
        };
        replica.open_images()?;
        replica.finish_bring_up()?;
        Ok(replica)
    }

    fn open_images(&mut self) -> Result<(), ReplicaError> {
        let Some(last) = self.chain.last() else { return Ok(()) };
        let sizes: BTreeMap<DiskKey, u64> = crate::store::sizes(last).into_iter().collect();
        for disk in self.chain.disks() {
            let size = sizes.get(&disk).copied().unwrap_or(0);
            self.ensure_image(&disk, size)?;
        }
        Ok(())
    }
}

/// Places of one disk that the chain refers to.
pub(crate) fn used_places(chain: &Chain, disk: &DiskKey) -> Result<Vec<Range<u64>>, ReplicaError> {
    let mut used: Vec<Range<u64>> = Vec::new();
    for element in &chain.elements {
        for entry in element.delta.cursor(disk) {
            let Entry { place, .. } = entry.map_err(|e| element.error(e))?;
            match (place.range(), used.last_mut()) {
                (Some(range), Some(last)) if last.end == range.start => last.end = range.end,
                (Some(range), _) => used.push(range),
                (None, _) => {}
            }
        }
    }
    Ok(used)
}

//! Opening a store: after any crash it comes back to the last acknowledged element by
//! itself, and says what it dropped.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use farshore_env::{Clock, File, Files, OpenMode};
use farshore_types::{DiskKey, MachineId};

use crate::{
    OpenReport, Options, Replica, ReplicaError,
    chain::{Chain, Used},
    layout::{IMAGE_SUFFIX, Layout},
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
        // A first look leaves no lock file where there is no replica of the machine.
        identify(State::load(&*files, &layout)?, &layout, wanted)?;
        let lock = files.open(&layout.lock(), OpenMode::Create).map_err(io)?;
        if !lock.try_lock().map_err(io)? {
            return Err(ReplicaError::Locked { dir: layout.dir().to_owned() });
        }
        // Only under the lock does the record stand still.
        let state = match identify(State::load(&*files, &layout)?, &layout, wanted)? {
            Identity::Held(state) => state,
            Identity::New(machine) => {
                let state = State::new(machine, "");
                state.save(&*files, &layout)?;
                state
            }
        };
        // An agent that was killed may have left a record that is seen but not durable.
        files.sync_dir(layout.dir()).map_err(io)?;
        Self::assemble(files, clock, layout, options, state, lock)
    }

    fn assemble(
        files: Arc<dyn Files>,
        clock: Arc<dyn Clock>,
        layout: Layout,
        options: Options,
        state: State,
        lock: Arc<dyn File>,
    ) -> Result<Replica, ReplicaError> {
        let mut report = OpenReport::default();
        let (mut chain, used, aside) = Chain::open(&*files, &layout, &mut report)?;
        chain.rest(&files);
        let mut replica = Replica {
            files,
            clock,
            layout,
            options,
            state,
            chain,
            aside,
            images: BTreeMap::new(),
            open: None,
            readers: ReaderPins::default(),
            record_in_doubt: false,
            doubtful: BTreeMap::new(),
            captured: None,
            report,
            _lock: lock,
        };
        replica.open_images(used)?;
        replica.step_over_lost()?;
        replica.resume_bring_up()?;
        replica.show_again()?;
        Ok(replica)
    }

    /// Opens the images of the chain's disks, and where the chain is damaged all that there
    /// are: it may have lost what they hold.
    fn open_images(&mut self, mut used: Used) -> Result<(), ReplicaError> {
        let sizes: BTreeMap<DiskKey, u64> = self.disks().into_iter().collect();
        let mut disks = self.chain.disks();
        if !self.aside.is_empty() || !self.report.damaged.is_empty() {
            let names =
                self.files.list(self.layout.dir()).map_err(|e| self.io("looking for disk images", e))?;
            disks.extend(names.iter().filter_map(|n| n.strip_suffix(IMAGE_SUFFIX)?.parse().ok()));
            disks.sort_unstable();
            disks.dedup();
        }
        for disk in disks {
            let size = sizes.get(&disk).copied().unwrap_or(0);
            self.open_image(&disk, size, used.remove(&disk).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Leaves the numbers of rescued and set-aside points behind, by an empty stage above
    /// them: a new point of such a name would be taken for the one that is already there.
    fn step_over_lost(&mut self) -> Result<(), ReplicaError> {
        let lost = [&self.report.rescued, &self.report.restored, &self.aside.ids()];
        let highest = lost.into_iter().flatten().map(|p| p.number).max();
        let Some(highest) = highest.map(|highest| highest.max(self.aside.stepped_over)) else {
            return Ok(());
        };
        if self.chain.last().is_some_and(|last| last.id().number > highest) {
            return Ok(());
        }
        let disks = self.disks();
        self.seal_stage((self.state.epoch.number, highest), |writer, root| {
            for (disk, size) in disks {
                root.disk(&disk, size, std::iter::empty());
                writer.begin_disk(disk, size, size)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// What a directory turns out to be.
enum Identity {
    Held(State),
    New(MachineId),
}

fn identify(
    held: Option<State>,
    layout: &Layout,
    wanted: Option<MachineId>,
) -> Result<Identity, ReplicaError> {
    let dir = layout.dir().to_owned();
    match (held, wanted) {
        (None, None) => Err(ReplicaError::Missing { dir }),
        (None, Some(machine)) => Ok(Identity::New(machine)),
        (Some(state), Some(wanted)) if state.machine != wanted => {
            Err(ReplicaError::OtherMachine { dir, found: state.machine, found_name: state.name, wanted })
        }
        (Some(state), _) => Ok(Identity::Held(state)),
    }
}

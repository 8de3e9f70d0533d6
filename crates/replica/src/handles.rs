//! Delta files are opened when they are read, and closed again when others are: a replica
//! keeps thousands of points, and a process may have few descriptors. This room must never
//! know what is in a file.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use farshore_env::{File, Files, OpenMode};

/// Files of one replica that stay open for the next read.
const OPEN_MAX: usize = 64;

/// The files of one replica that are open now, the one opened longest ago first.
#[derive(Default)]
pub(crate) struct Handles {
    open: Mutex<VecDeque<Weak<OnDemand>>>,
}

/// A file that is opened by its name when it is read.
pub(crate) struct OnDemand {
    files: Arc<dyn Files>,
    path: PathBuf,
    handles: Arc<Handles>,
    /// Itself, for the list of open files.
    own: Weak<OnDemand>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<Arc<dyn File>>,
    /// Its name will mean another file, or none: what is open stays so.
    held: bool,
}

impl OnDemand {
    pub(crate) fn new(files: Arc<dyn Files>, path: &Path, handles: Arc<Handles>) -> Arc<OnDemand> {
        Arc::new_cyclic(|own| OnDemand {
            files,
            path: path.to_owned(),
            handles,
            own: own.clone(),
            state: Mutex::default(),
        })
    }

    /// Keeps the file open for as long as anyone refers to it: to be called before its
    /// name goes to another file or away.
    pub(crate) fn hold(&self) -> io::Result<()> {
        self.file()?;
        self.state().held = true;
        Ok(())
    }

    fn file(&self) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        if let Some(file) = &state.file {
            return Ok(file.clone());
        }
        let file = self.files.open(&self.path, OpenMode::Read)?;
        state.file = Some(file.clone());
        drop(state);
        self.handles.opened(&self.own);
        Ok(file)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handles {
    /// Notes an open file, and closes the oldest ones that are too many.
    fn opened(&self, file: &Weak<OnDemand>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push_back(file.clone());
        while open.len() > OPEN_MAX {
            let Some(oldest) = open.pop_front().and_then(|f| f.upgrade()) else { continue };
            let mut state = oldest.state();
            if !state.held {
                state.file = None;
            }
        }
    }
}

impl File for OnDemand {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file()?.read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file()?.size()
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn try_lock_bytes_shared(&self, _: &[u64]) -> io::Result<bool> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn others_lock(&self, _: u64) -> io::Result<bool> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[cfg(test)]
mod tests {
    use farshore_env::RealFiles;

    use super::*;

    fn files(dir: &Path, count: usize) -> Vec<Arc<OnDemand>> {
        let handles = Arc::new(Handles::default());
        let one = |n: usize| {
            let path = dir.join(n.to_string());
            std::fs::write(&path, n.to_string()).unwrap();
            OnDemand::new(Arc::new(RealFiles), &path, handles.clone())
        };
        (0..count).map(one).collect()
    }

    fn content(file: &OnDemand) -> String {
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn many_files_are_read_through_few_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), 3 * OPEN_MAX);
        for _ in 0..2 {
            for (n, file) in files.iter().enumerate() {
                assert_eq!(content(file), n.to_string());
            }
        }
        let open = files.iter().filter(|f| f.state().file.is_some()).count();
        assert!(open <= OPEN_MAX, "{open} are open");
    }

    #[test]
    fn a_held_file_is_read_after_its_name_means_another() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), 2 * OPEN_MAX);
        files[0].hold().unwrap();
        files[1].hold().unwrap();
        std::fs::rename(dir.path().join("9"), dir.path().join("0")).unwrap();
        std::fs::remove_file(dir.path().join("1")).unwrap();
        files[10..].iter().for_each(|f| drop(content(f)));
        assert_eq!((content(&files[0]), content(&files[1])), ("0".to_owned(), "1".to_owned()));
    }
}

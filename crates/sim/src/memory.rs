//! Files in memory that record every operation, and can be told to fail the N-th.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use farshore_env::{File, Files, OpenMode};

/// Content is held in pages of this many bytes, shared between crash images.
pub(crate) const PAGE: usize = 4096;

/// Names one file for its whole life, whatever it is called.
pub(crate) type Inode = u64;

/// A fuse that never burns down, because its faults are over.
const HEALED: u64 = u64::MAX - 1;

/// One operation that changes what a crash could leave.
#[derive(Clone, Debug)]
pub enum Op {
    /// A file came into being under a name.
    Create(PathBuf, u64),
    /// Bytes were written.
    Write(u64, u64, Arc<[u8]>),
    /// The size was set.
    SetSize(u64, u64),
    /// A range became a hole.
    Punch(u64, u64, u64),
    /// A file was made durable.
    Sync(u64),
    /// A file was to be made durable, and that failed: as on Linux, what was written to it
    /// since is still read back, but no later sync makes it durable.
    SyncFailed(u64),
    /// A name moved.
    Rename(PathBuf, PathBuf, u64),
    /// A name went.
    Remove(PathBuf),
    /// A directory was made durable.
    SyncDir(PathBuf),
}

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub(crate) fn write(&mut self, mut data: &[u8], mut at: u64) {
        self.size = self.size.max(at + data.len() as u64);
        while !data.is_empty() {
            let (page, within) = (at / PAGE as u64, usize::try_from(at % PAGE as u64).unwrap());
            let len = data.len().min(PAGE - within);
            let slot = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(slot)[within..within + len].copy_from_slice(&data[..len]);
            (data, at) = (&data[len..], at + len as u64);
        }
    }

    pub(crate) fn read(&self, buf: &mut [u8], at: u64) -> usize {
        let len = usize::try_from(self.size.saturating_sub(at)).unwrap().min(buf.len());
        let (mut done, mut at) = (0, at);
        while done < len {
            let (page, within) = (at / PAGE as u64, usize::try_from(at % PAGE as u64).unwrap());
            let n = (len - done).min(PAGE - within);
            match self.pages.get(&page) {
                Some(p) => buf[done..done + n].copy_from_slice(&p[within..within + n]),
                None => buf[done..done + n].fill(0),
            }
            (done, at) = (done + n, at + n as u64);
        }
        len
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.punch(size, self.size - size);
        }
        self.size = size;
    }

    pub(crate) fn punch(&mut self, at: u64, len: u64) {
        let end = (at + len).min(self.size);
        let whole = at.div_ceil(PAGE as u64)..end / PAGE as u64;
        let gone: Vec<u64> =
            self.pages.range(whole.start..whole.end.max(whole.start)).map(|(p, _)| *p).collect();
        gone.iter().for_each(|p| drop(self.pages.remove(p)));
        let zeros = [0; PAGE];
        for (from, to) in
            [(at, (whole.start * PAGE as u64).min(end)), ((whole.end * PAGE as u64).max(at), end)]
        {
            if from < to {
                self.write(&zeros[..usize::try_from(to - from).unwrap().min(PAGE)], from);
            }
        }
    }

    /// Bytes that are not holes.
    pub(crate) fn allocated(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }
}

#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) names: BTreeMap<PathBuf, Inode>,
    pub(crate) contents: BTreeMap<Inode, Content>,
    locked: BTreeMap<Inode, u64>,
    next: Inode,
    log: Vec<Op>,
    recording: bool,
}

/// A directory tree in memory.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    tree: Arc<Mutex<Tree>>,
    /// Changing operations until one fails; `u64::MAX`: never.
    fuse: Arc<AtomicU64>,
    /// Whether all operations after the failing one fail, too.
    stays_broken: bool,
    error: Option<io::ErrorKind>,
    /// Whether a stock program reads files of this tree.
    read_by_others: Arc<AtomicBool>,
    /// Files of which so many readings to come fail.
    unreadable: Arc<Mutex<BTreeMap<Inode, u64>>>,
    /// What `free_space` says.
    free: Arc<AtomicU64>,
}

impl MemoryFiles {
    /// An empty tree that records.
    #[must_use]
    pub fn new() -> MemoryFiles {
        let tree = Tree { recording: true, ..Tree::default() };
        MemoryFiles {
            tree: Arc::new(Mutex::new(tree)),
            fuse: Arc::new(AtomicU64::new(u64::MAX)),
            stays_broken: false,
            error: None,
            read_by_others: Arc::default(),
            unreadable: Arc::default(),
            free: Arc::new(AtomicU64::new(1 << 40)),
        }
    }

    /// A durable tree whose next operations are recorded.
    pub(crate) fn of(names: BTreeMap<PathBuf, Inode>, contents: BTreeMap<Inode, Content>) -> MemoryFiles {
        let next = contents.keys().last().copied().unwrap_or(0) + 1;
        let tree = Tree { names, contents, next, recording: true, ..Tree::default() };
        MemoryFiles { tree: Arc::new(Mutex::new(tree)), ..MemoryFiles::new() }
    }

    /// Whether a stock program, such as `qemu-nbd`, is at files of this tree from now on.
    pub fn set_read_by_others(&self, reading: bool) {
        self.read_by_others.store(reading, Ordering::Relaxed);
    }

    /// So many bytes are free from now on, as far as anyone asks; writing goes on all the same.
    pub fn set_free(&self, bytes: u64) {
        self.free.store(bytes, Ordering::Relaxed);
    }

    /// Makes the next `times` readings of a file fail, as a bad sector does, whatever its name
    /// becomes.
    pub fn fail_reads(&self, path: &Path, times: u64) {
        let inode = self.tree.lock().unwrap().names[path];
        self.unreadable.lock().unwrap().insert(inode, times);
    }

    /// A copy of the tree as it is now, taken to be durable.
    #[must_use]
    pub fn copy(&self) -> MemoryFiles {
        let tree = self.tree.lock().unwrap();
        MemoryFiles::of(tree.names.clone(), tree.contents.clone())
    }

    pub(crate) fn parts(&self) -> (BTreeMap<PathBuf, Inode>, BTreeMap<Inode, Content>) {
        let tree = self.tree.lock().unwrap();
        (tree.names.clone(), tree.contents.clone())
    }

    /// Paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.tree.lock().unwrap().names.keys().cloned().collect()
    }

    /// Replaces a file's content, as damage does.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let file = self.open(path, OpenMode::Truncate).unwrap();
        file.write_at(bytes, 0).unwrap();
    }

    /// The same tree, of which the `n`-th changing operation from now fails (0: the next);
    /// all later ones, too, if it `stays_broken`.
    #[must_use]
    pub fn failing(&self, n: u64, error: io::ErrorKind, stays_broken: bool) -> MemoryFiles {
        MemoryFiles { fuse: Arc::new(AtomicU64::new(n)), stays_broken, error: Some(error), ..self.clone() }
    }

    /// Whether the fault has been hit.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.error.is_some() && self.fuse.load(Ordering::Relaxed) == u64::MAX
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.fuse.store(HEALED, Ordering::Relaxed);
    }

    /// Number of operations recorded.
    #[must_use]
    pub fn recorded(&self) -> usize {
        self.tree.lock().unwrap().log.len()
    }

    /// The operations recorded.
    #[must_use]
    pub fn log(&self) -> Vec<Op> {
        self.tree.lock().unwrap().log.clone()
    }

    /// A file's whole content.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let tree = self.tree.lock().unwrap();
        let inode = tree.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let content = &tree.contents[inode];
        let mut out = vec![0; usize::try_from(content.size).unwrap()];
        content.read(&mut out, 0);
        Ok(out)
    }

    /// Bytes of a file that are not holes.
    #[must_use]
    pub fn allocated(&self, path: &Path) -> u64 {
        let tree = self.tree.lock().unwrap();
        tree.names.get(path).map_or(0, |i| tree.contents[i].allocated())
    }

    /// Burns the fuse down; fails where it is at its end.
    fn burn(&self) -> io::Result<()> {
        let left = self.fuse.load(Ordering::Relaxed);
        match (left, self.error) {
            (u64::MAX, Some(error)) if self.stays_broken => return Err(error.into()),
            (0, Some(error)) => {
                self.fuse.store(u64::MAX, Ordering::Relaxed);
                return Err(error.into());
            }
            (u64::MAX | HEALED, _) | (_, None) => {}
            (n, _) => self.fuse.store(n - 1, Ordering::Relaxed),
        }
        Ok(())
    }

    fn change<T>(&self, op: impl FnOnce(&mut Tree) -> io::Result<(T, Option<Op>)>) -> io::Result<T> {
        self.burn()?;
        let mut tree = self.tree.lock().unwrap();
        let (out, op) = op(&mut tree)?;
        if tree.recording {
            tree.log.extend(op);
        }
        Ok(out)
    }

    fn handle(&self, inode: Inode) -> Arc<dyn File> {
        Arc::new(MemoryFile { files: self.clone(), inode, locks: Mutex::new(false) })
    }
}

impl Files for MemoryFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let found = self.tree.lock().unwrap().names.get(path).copied();
        let inode = match (found, mode) {
            (None, OpenMode::Read | OpenMode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => self.change(|tree| {
                tree.next += 1;
                let inode = tree.next;
                tree.names.insert(path.to_owned(), inode);
                tree.contents.insert(inode, Content::default());
                Ok((inode, Some(Op::Create(path.to_owned(), inode))))
            })?,
            (Some(inode), OpenMode::Truncate) => {
                self.handle(inode).set_size(0)?;
                inode
            }
            (Some(inode), _) => inode,
        };
        Ok(self.handle(inode))
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.tree.lock().unwrap();
        let inside = tree.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(inside.map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|tree| {
            let inode = tree.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            tree.names.insert(to.to_owned(), inode);
            Ok(((), Some(Op::Rename(from.to_owned(), to.to_owned(), inode))))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|tree| {
            tree.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(((), Some(Op::Remove(path.to_owned()))))
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|_| Ok(((), Some(Op::SyncDir(dir.to_owned())))))
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

struct MemoryFile {
    files: MemoryFiles,
    inode: Inode,
    locks: Mutex<bool>,
}

impl MemoryFile {
    fn change(&self, op: impl FnOnce(&mut Content) -> Op) -> io::Result<()> {
        self.files.change(|tree| {
            let op = op(tree.contents.get_mut(&self.inode).unwrap());
            Ok(((), Some(op)))
        })
    }
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Some(left) = self.files.unreadable.lock().unwrap().get_mut(&self.inode)
            && *left > 0
        {
            *left -= 1;
            // Linux's EIO has no name of its own in `ErrorKind`.
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(self.files.tree.lock().unwrap().contents[&self.inode].read(buf, offset))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change(|content| {
            content.write(data, offset);
            Op::Write(self.inode, offset, data.into())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let synced = self.change(|_| Op::Sync(self.inode));
        if synced.is_err() {
            let mut tree = self.files.tree.lock().unwrap();
            if tree.recording {
                tree.log.push(Op::SyncFailed(self.inode));
            }
        }
        synced
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.files.tree.lock().unwrap().contents[&self.inode].size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.change(|content| {
            content.set_size(size);
            Op::SetSize(self.inode, size)
        })
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.change(|content| {
            content.punch(offset, len);
            Op::Punch(self.inode, offset, len)
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut mine = self.locks.lock().unwrap();
        let mut tree = self.files.tree.lock().unwrap();
        let held = tree.locked.entry(self.inode).or_insert(0);
        if *held > 0 && !*mine {
            return Ok(false);
        }
        (*held, *mine) = (1, true);
        Ok(true)
    }

    fn try_lock_bytes_shared(&self, _: &[u64]) -> io::Result<bool> {
        Ok(true)
    }

    fn others_lock(&self, _: u64) -> io::Result<bool> {
        Ok(self.files.read_by_others.load(Ordering::Relaxed))
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if *self.locks.lock().unwrap() {
            self.files.tree.lock().unwrap().locked.insert(self.inode, 0);
        }
    }
}

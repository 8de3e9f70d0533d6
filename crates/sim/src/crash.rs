//! What a power cut can leave: everything synced, and of the rest any part, torn where a
//! write was under way.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::memory::{Content, Inode, MemoryFiles, Op};

/// What becomes of one operation that was not yet durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It happened.
    Keep,
    /// It did not.
    Drop,
    /// Of a write, the sectors for which a bit of this pattern is set (repeating) happened;
    /// of anything else, as [`Fate::Drop`].
    Torn(u64),
}

/// Unit that a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// Steps through recorded operations; at any step, a crash can be tried.
#[derive(Clone, Default)]
pub struct Replay {
    names: BTreeMap<PathBuf, Inode>,
    contents: BTreeMap<Inode, Content>,
    pending: Vec<Op>,
}

impl Replay {
    /// Starts from a tree of which all is durable.
    #[must_use]
    pub fn over(files: &MemoryFiles) -> Replay {
        let (names, contents) = files.parts();
        Replay { names, contents, pending: Vec::new() }
    }

    /// Takes the next operation.
    pub fn step(&mut self, op: &Op) {
        match op {
            Op::Sync(inode) => self.settle(|op| data_of(op) == Some(*inode)),
            Op::SyncDir(dir) => self.settle(|op| dir_of(op) == Some(dir)),
            Op::SyncFailed(inode) => self.pending.retain(|op| data_of(op) != Some(*inode)),
            other => self.pending.push(other.clone()),
        }
    }

    fn settle(&mut self, durable: impl Fn(&Op) -> bool) {
        let (done, left): (Vec<Op>, Vec<Op>) = self.pending.drain(..).partition(|op| durable(op));
        self.pending = left;
        done.iter().for_each(|op| apply(&mut self.names, &mut self.contents, op, Fate::Keep));
    }

    /// Number of operations that a crash now could lose.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The operations that a crash now could lose.
    #[must_use]
    pub fn unsynced(&self) -> &[Op] {
        &self.pending
    }

    /// The tree after a crash now, each operation that is not durable having the fate
    /// that `fate` gives it by its place among them.
    pub fn crash(&self, mut fate: impl FnMut(usize) -> Fate) -> MemoryFiles {
        let (mut names, mut contents) = (self.names.clone(), self.contents.clone());
        for (i, op) in self.pending.iter().enumerate() {
            apply(&mut names, &mut contents, op, fate(i));
        }
        for inode in names.values() {
            contents.entry(*inode).or_default();
        }
        MemoryFiles::of(names, contents)
    }
}

fn data_of(op: &Op) -> Option<Inode> {
    match op {
        Op::Write(inode, ..) | Op::SetSize(inode, _) | Op::Punch(inode, ..) => Some(*inode),
        _ => None,
    }
}

fn dir_of(op: &Op) -> Option<&Path> {
    match op {
        Op::Create(path, _) | Op::Remove(path) | Op::Rename(_, path, _) => path.parent(),
        _ => None,
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Inode>, contents: &mut BTreeMap<Inode, Content>, op: &Op, fate: Fate) {
    if fate == Fate::Drop {
        return;
    }
    match (op, fate) {
        (Op::Write(inode, at, data), Fate::Torn(pattern)) => {
            let content = contents.entry(*inode).or_default();
            for (i, sector) in data.chunks(SECTOR).enumerate() {
                if pattern >> (i % 64) & 1 == 1 {
                    content.write(sector, at + (i * SECTOR) as u64);
                }
            }
        }
        (_, Fate::Torn(_)) => {}
        (Op::Write(inode, at, data), _) => contents.entry(*inode).or_default().write(data, *at),
        (Op::SetSize(inode, size), _) => contents.entry(*inode).or_default().set_size(*size),
        (Op::Punch(inode, at, len), _) => contents.entry(*inode).or_default().punch(*at, *len),
        (Op::Create(path, inode), _) => drop(names.insert(path.clone(), *inode)),
        (Op::Rename(from, to, inode), _) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        (Op::Remove(path), _) => drop(names.remove(path)),
        (Op::Sync(_) | Op::SyncFailed(_) | Op::SyncDir(_), _) => {}
    }
}

#[cfg(test)]
mod tests {
    use farshore_env::{Files, OpenMode};

    use super::*;

    fn replay(files: &MemoryFiles) -> Replay {
        let mut replay = Replay::default();
        files.log().iter().for_each(|op| replay.step(op));
        replay
    }

    #[test]
    fn only_what_was_synced_is_sure_to_survive() {
        let files = MemoryFiles::new();
        let (path, dir) = (Path::new("/d/a"), Path::new("/d"));
        let file = files.open(path, OpenMode::Create).unwrap();
        file.write_at(b"one", 0).unwrap();
        file.sync().unwrap();
        assert!(replay(&files).crash(|_| Fate::Drop).content(path).is_err(), "the name was not synced");
        files.sync_dir(dir).unwrap();
        file.write_at(b"two", 0).unwrap();
        assert_eq!(replay(&files).crash(|_| Fate::Drop).content(path).unwrap(), b"one");
        assert_eq!(replay(&files).crash(|_| Fate::Keep).content(path).unwrap(), b"two");
    }

    #[test]
    fn what_a_failed_sync_let_go_is_read_back_but_never_durable() {
        let files = MemoryFiles::new();
        let path = Path::new("/d/a");
        let file = files.open(path, OpenMode::Create).unwrap();
        files.sync_dir(Path::new("/d")).unwrap();
        let failing = files.failing(1, std::io::ErrorKind::Other, false);
        let file_failing = failing.open(path, OpenMode::Write).unwrap();
        file_failing.write_at(b"one", 0).unwrap();
        assert!(file_failing.sync().is_err());
        file.sync().unwrap();
        assert_eq!(files.content(path).unwrap(), b"one");
        assert_eq!(replay(&files).crash(|_| Fate::Keep).content(path).unwrap(), b"");
    }

    #[test]
    fn a_torn_write_keeps_whole_sectors() {
        let files = MemoryFiles::new();
        let file = files.open(Path::new("/d/a"), OpenMode::Create).unwrap();
        files.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[7; 1536], 0).unwrap();
        let left = replay(&files).crash(|_| Fate::Torn(0b101)).content(Path::new("/d/a")).unwrap();
        assert_eq!((left[0], left[511], left[512], left[1024]), (7, 7, 0, 7));
    }
}

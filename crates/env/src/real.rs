//! The machine's own file system.

use std::{
    fs, io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
    sync::Arc,
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl},
    libc,
    sys::statvfs::statvfs,
};

use crate::{File, Files, OpenMode};

/// [`Files`] on the machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

/// Names the path in an error that the system gave without one.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |e| io::Error::new(e.kind(), PathError { path: path.display().to_string(), source: e })
}

/// An I/O error with the path that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct PathError {
    path: String,
    // Displayed above, so not offered again as a source.
    #[source]
    source: io::Error,
}

impl Files for RealFiles {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::Write => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(false),
            OpenMode::Truncate => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path).map_err(at(path))?)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path).map_err(at(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)
            .map_err(at(dir))?
            .map(|entry| Ok(entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(at(from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(at(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir).and_then(|d| d.sync_all()).map_err(at(dir))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = statvfs(path).map_err(|e| at(path)(e.into()))?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let range = |v: u64| libc::off_t::try_from(v).map_err(|_| io::Error::from(Errno::EFBIG));
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(self.0.as_fd(), flags, range(offset)?, range(len)?) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.try_ofd(libc::F_WRLCK, 0, 0)
    }

    fn try_lock_bytes_shared(&self, bytes: &[u64]) -> io::Result<bool> {
        for byte in bytes {
            let start = libc::off_t::try_from(*byte).map_err(|_| io::Error::from(Errno::EFBIG))?;
            if !self.try_ofd(libc::F_RDLCK, start, 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn others_lock(&self, byte: u64) -> io::Result<bool> {
        let start = libc::off_t::try_from(byte).map_err(|_| io::Error::from(Errno::EFBIG))?;
        let mut lock = ofd_lock(libc::F_WRLCK, start, 1);
        fcntl(self.0.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

/// An open-file-description lock: it belongs to one handle, not to the process, so
/// closing another handle of the same file does not drop it. Length 0: the whole file.
fn ofd_lock(kind: i32, start: libc::off_t, len: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or(i16::MAX),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or(0),
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

impl RealFile {
    fn try_ofd(&self, kind: i32, start: libc::off_t, len: libc::off_t) -> io::Result<bool> {
        match fcntl(self.0.as_fd(), FcntlArg::F_OFD_SETLK(&ofd_lock(kind, start, len))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

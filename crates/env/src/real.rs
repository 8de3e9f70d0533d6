//! The machine's own file system.

use std::{
    fs,
    io::{self, Seek},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::Path,
    sync::{Arc, OnceLock},
};

use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl},
    libc,
    sys::statvfs::statvfs,
};

use crate::{DIRECT_ALIGN, File, Files, OpenMode};

/// Writes from this many bytes on pass the page cache by, where memory and offset allow:
/// what is written in bulk is not read again soon, and copying it there costs more than
/// encrypting it.
const DIRECT_MIN: usize = 256 << 10;

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
        let file = options.open(path).map_err(at(path))?;
        Ok(Arc::new(RealFile { file, direct: OnceLock::new() }))
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

struct RealFile {
    file: fs::File,
    /// The same file past the page cache; none where its file system cannot. A second
    /// description, so that locks stay with the first.
    direct: OnceLock<Option<fs::File>>,
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let bulk = data.len() - data.len() % DIRECT_ALIGN;
        let aligned =
            offset.is_multiple_of(DIRECT_ALIGN as u64) && data.as_ptr().align_offset(DIRECT_ALIGN) == 0;
        if bulk >= DIRECT_MIN
            && aligned
            && let Some(direct) = self.direct()
        {
            match direct.write_all_at(&data[..bulk], offset) {
                Ok(()) => return self.file.write_all_at(&data[bulk..], offset + bulk as u64),
                // Some file systems open such a file, and then refuse its writes.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
                Err(e) => return Err(e),
            }
        }
        self.file.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        match self.file.metadata()? {
            about if about.is_file() => Ok(about.len()),
            // A device's own metadata says nothing. No call here reads or writes at the position.
            _ => (&self.file).seek(io::SeekFrom::End(0)),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let range = |v: u64| libc::off_t::try_from(v).map_err(|_| io::Error::from(Errno::EFBIG));
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(self.file.as_fd(), flags, range(offset)?, range(len)?) {
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
        fcntl(self.file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))?;
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
    fn direct(&self) -> Option<&fs::File> {
        let open = || {
            // By its descriptor: the name may mean another file by now.
            let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            fs::OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(own).ok()
        };
        self.direct.get_or_init(open).as_ref()
    }

    fn try_ofd(&self, kind: i32, start: libc::off_t, len: libc::off_t) -> io::Result<bool> {
        match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&ofd_lock(kind, start, len))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlignedBuffer;

    #[test]
    fn a_bulk_write_reads_back_whatever_its_alignment() {
        let dir = std::env::temp_dir().join(format!("farshore-env-{}", std::process::id()));
        RealFiles.create_dir_all(&dir).unwrap();
        let file = RealFiles.open(&dir.join("bulk"), OpenMode::Truncate).unwrap();
        let mut buffer = AlignedBuffer::default();
        let content: Vec<u8> = (0u8..=250).cycle().take(DIRECT_MIN * 3 + 512).collect();
        buffer.extend_from_slice(&content);
        for offset in [0, 4096, 512, 65_536] {
            file.write_at(buffer.as_slice(), offset).unwrap();
            let mut back = vec![0; content.len()];
            crate::read_exact_at(&*file, &mut back, offset).unwrap();
            assert!(back == content, "at {offset}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}

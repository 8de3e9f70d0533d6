//! Files and directories as a trait.

use std::{io, path::Path, sync::Arc};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; only read.
    Read,
    /// Must exist; read and written.
    Write,
    /// Created if missing; read and written; content kept.
    Create,
    /// Created, or cut to nothing if it exists.
    Truncate,
}

/// A directory tree. What is written is durable only after [`File::sync`], what is
/// created, renamed or removed only after [`Files::sync_dir`] of its directory.
pub trait Files: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// As the system reports; `NotFound` where the mode asks for an existing file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Creates a directory and its parents; succeeds where it exists.
    ///
    /// # Errors
    /// As the system reports.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, in no order.
    ///
    /// # Errors
    /// As the system reports.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Renames a file, replacing what has the new name.
    ///
    /// # Errors
    /// As the system reports.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// As the system reports.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a directory durable.
    ///
    /// # Errors
    /// As the system reports.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that can still be stored where `path` is.
    ///
    /// # Errors
    /// As the system reports.
    fn free_space(&self, path: &Path) -> io::Result<u64>;
}

/// An open file, read and written at places; there is no position.
pub trait File: Send + Sync {
    /// Reads up to `buf.len()` bytes; 0 at the end.
    ///
    /// # Errors
    /// As the system reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `data`, growing the file as needed.
    ///
    /// # Errors
    /// As the system reports; part may have been written.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written so far durable, with the file's size. A failure is never
    /// healed by calling it again: the caller must give up what it wrote.
    ///
    /// # Errors
    /// As the system reports.
    fn sync(&self) -> io::Result<()>;
    /// Size in bytes.
    ///
    /// # Errors
    /// As the system reports.
    fn size(&self) -> io::Result<u64>;
    /// Cuts or grows (with zeros) to `size`.
    ///
    /// # Errors
    /// As the system reports.
    fn set_size(&self, size: u64) -> io::Result<()>;
    /// Gives the space of a range back; it then reads as zeros. File systems that cannot
    /// do this leave the range as it is; only space is lost.
    ///
    /// # Errors
    /// As the system reports, but for "not supported".
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Takes an exclusive lock that ends with the file's last handle; false where another
    /// holds it.
    ///
    /// # Errors
    /// As the system reports.
    fn try_lock(&self) -> io::Result<bool>;
    /// Takes shared locks on single bytes, as QEMU does on images; false where refused.
    ///
    /// # Errors
    /// As the system reports.
    fn try_lock_bytes_shared(&self, bytes: &[u64]) -> io::Result<bool>;
    /// Whether anyone but this handle holds a lock on the byte, as QEMU's readers do.
    ///
    /// # Errors
    /// As the system reports.
    fn others_lock(&self, byte: u64) -> io::Result<bool>;
}

/// Fills `buf` from `offset`.
///
/// # Errors
/// `UnexpectedEof` where the file ends before; else as the system reports.
pub fn read_exact_at(file: &dyn File, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

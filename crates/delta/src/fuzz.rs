//! Entry points for fuzzers: any bytes in, no panic, no more memory than the input's length
//! justifies. Each returns whether the bytes meant something.

use std::{io, sync::Arc};

use farshore_env::File;

use crate::{DeltaFile, Merge};

/// A whole delta file: opened, checked, every disk read, looked up and merged with itself.
#[must_use]
pub fn file(input: &[u8]) -> bool {
    let Ok(delta) = DeltaFile::open(Arc::new(Bytes(input.to_vec()))) else { return false };
    let whole = delta.check().is_ok();
    for disk in &delta.footer().disks {
        let entries = delta.cursor(&disk.key).take_while(Result::is_ok).count();
        assert!(entries * crate::ENTRY_LEN <= input.len() * delta.footer().disks.len().max(1));
        let _ = (delta.lookup(&disk.key, 0).is_ok(), delta.lookup(&disk.key, u64::MAX).is_ok());
        if let Ok(merge) = Merge::telling_losers(&[&delta, &delta], &disk.key, &mut |_| {}) {
            let _ = merge.take_while(Result::is_ok).count();
        }
    }
    whole
}

/// A footer (after its length in two bytes) and then pages, made a file with checksums that
/// are right: past these, nearly no damage comes otherwise.
#[must_use]
pub fn parts(input: &[u8]) -> bool {
    let Some((len, rest)) = input.split_first_chunk() else { return false };
    let (footer, pages) = rest.split_at(usize::from(u16::from_le_bytes(*len)).min(rest.len()));
    file(&crate::file::assembled(pages, footer))
}

/// Bytes as a file that can only be read.
struct Bytes(Vec<u8>);

impl File for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_size(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn punch(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn try_lock_bytes_shared(&self, _: &[u64]) -> io::Result<bool> {
        Ok(true)
    }

    fn others_lock(&self, _: u64) -> io::Result<bool> {
        Ok(false)
    }
}
